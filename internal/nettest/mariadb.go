package nettest

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// MariaDB is a real mariadbd with its own address and data. Its user "weir" with the password "secret" has all rights
// from every host.
type MariaDB struct {
	t    testing.TB
	addr string
	dir  string
	args []string
	file string // replaces /etc/hosts; "" = the machine's own
	user string // runs the server; "" = the test's own
	p    *program
}

// StartMariaDB installs a database and runs mariadbd with further arguments until the test ends. It takes a few
// seconds.
func StartMariaDB(t testing.TB, args ...string) *MariaDB {
	t.Helper()
	return StartMariaDBWithNames(t, nil, args...)
}

// StartMariaDBWithNames is StartMariaDB for a server that resolves the names of its clients by names, from address to
// name. It counts errors of a client only if the client has a name.
func StartMariaDBWithNames(t testing.TB, names map[string]string, args ...string) *MariaDB {
	t.Helper()
	m := newMariaDB(t, true)
	m.args = args
	if names == nil {
		m.args = append([]string{"--skip-name-resolve"}, args...)
	} else {
		var lines strings.Builder
		for ip, name := range names {
			lines.WriteString(ip + " " + name + "\n")
		}
		m.file = filepath.Join(m.dir, "hosts")
		require.NoError(t, os.WriteFile(m.file, []byte(lines.String()), 0o644))
	}
	m.Up()
	return m
}

// newMariaDB returns a server that does not run yet, with a database and its user or with an empty directory.
func newMariaDB(t testing.TB, installed bool) *MariaDB {
	t.Helper()
	// A directory with a short name: the path of the server's unix socket is limited to 107 bytes.
	dir, err := os.MkdirTemp("", "weirdb")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	m := &MariaDB{t: t, addr: Reserve(t), dir: dir}
	if !installed {
		require.NoError(t, os.Mkdir(filepath.Join(dir, "data"), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "init.sql"), nil, 0o600))
		return m
	}
	install, err := exec.LookPath("mariadb-install-db")
	require.NoError(t, err, "install mariadb-server to run this test")
	command := exec.Command(install, "--no-defaults", "--user=root", "--datadir="+filepath.Join(dir, "data"),
		"--auth-root-authentication-method=normal", "--skip-test-db")
	command.Env = append(os.Environ(), "TMPDIR="+dir) // installations in one directory conflict
	out, err := command.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "init.sql"), []byte(
		// One statement per line, otherwise the second is ignored. The statements of two servers must not conflict if one
		// replicates the other.
		"SET sql_log_bin = 0;\nCREATE USER IF NOT EXISTS weir@'%' IDENTIFIED BY 'secret';\nGRANT ALL ON *.* TO weir@'%' WITH GRANT OPTION;\n"), 0o600))
	return m
}

// Addr returns the server's address.
func (m *MariaDB) Addr() string { return m.addr }

// PID returns the process number of the running server.
func (m *MariaDB) PID() int { return m.p.cmd.Process.Pid }

// Up restarts the server after Kill with its data.
func (m *MariaDB) Up() {
	m.t.Helper()
	host, port, err := net.SplitHostPort(m.addr)
	require.NoError(m.t, err)
	args := append([]string{
		"--no-defaults", "--user=root", "--datadir=" + filepath.Join(m.dir, "data"), "--socket=" + filepath.Join(m.dir, "sock"),
		"--tmpdir=" + m.dir, "--bind-address=" + host, "--port=" + port, "--pid-file=" + filepath.Join(m.dir, "pid"),
		"--init-file=" + filepath.Join(m.dir, "init.sql"),
		"--innodb-buffer-pool-size=16M", "--innodb-flush-log-at-trx-commit=0", "--performance-schema=OFF",
	}, m.args...)
	switch {
	case m.user != "":
		m.p = startProgram(m.t, "setpriv", append([]string{
			"--reuid=" + m.user, "--regid=" + m.user, "--clear-groups", "--pdeathsig=KILL", "mariadbd",
		}, args...)...)
	case m.file == "":
		m.p = startProgram(m.t, "mariadbd", args...)
	default:
		m.p = startProgram(m.t, "unshare", append([]string{"--mount", "sh", "-c", `mount --bind "$0" /etc/hosts && exec mariadbd "$@"`, m.file}, args...)...)
	}
	// Wait for its log, not for a connection: a connection that ends before a login counts as an error of this host.
	m.p.waitReady(m.t, 60*time.Second, func() bool { return strings.Contains(m.Log(), "ready for connections") })
}

// Kill ends the server with SIGKILL and returns when it has ended.
func (m *MariaDB) Kill() { m.p.kill() }

// Log returns the server's error log.
func (m *MariaDB) Log() string { return m.p.output.String() }

// Client returns the command line client, logged in as weir at an address, which may be a proxy of the server.
func (m *MariaDB) Client(addr string, args ...string) *exec.Cmd {
	return m.command("mariadb", addr, append([]string{"--batch", "--skip-column-names"}, args...)...)
}

// LoadGenerator returns the load generator mariadb-slap, logged in as weir at an address.
func (m *MariaDB) LoadGenerator(addr string, args ...string) *exec.Cmd {
	return m.command("mariadb-slap", addr, args...)
}

func (m *MariaDB) command(name, addr string, args ...string) *exec.Cmd {
	host, port, err := net.SplitHostPort(addr)
	require.NoError(m.t, err)
	return exec.Command(name, append([]string{
		"--no-defaults", "--protocol=tcp", "--host=" + host, "--port=" + port, "--user=weir", "--password=secret",
	}, args...)...)
}
