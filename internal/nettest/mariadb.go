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

// MariaDB is a real mariadbd with an address and data of its own. Its user "weir" with the password "secret" may do
// everything, from everywhere.
type MariaDB struct {
	t    testing.TB
	addr string
	dir  string
	args []string
	file string // stands for /etc/hosts; "" = the machine's
	p    *program
}

// StartMariaDB installs a database and runs mariadbd with further arguments until the test ends. It takes a few seconds.
func StartMariaDB(t testing.TB, args ...string) *MariaDB {
	t.Helper()
	return StartMariaDBWithNames(t, nil, args...)
}

// StartMariaDBWithNames is StartMariaDB for a server that looks up the names of its clients and finds these, by address. It
// counts what goes wrong with a client only if that has a name.
func StartMariaDBWithNames(t testing.TB, names map[string]string, args ...string) *MariaDB {
	t.Helper()
	// A directory with a short name: the path of the server's unix socket is limited to 107 bytes.
	dir, err := os.MkdirTemp("", "weirdb")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	install, err := exec.LookPath("mariadb-install-db")
	require.NoError(t, err, "install mariadb-server to run this test")
	command := exec.Command(install, "--no-defaults", "--user=root", "--datadir="+filepath.Join(dir, "data"),
		"--auth-root-authentication-method=normal", "--skip-test-db")
	command.Env = append(os.Environ(), "TMPDIR="+dir) // two installations in one directory disturb each other
	out, err := command.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "init.sql"), []byte(
		// One statement per line, or the second is ignored.
		"CREATE USER IF NOT EXISTS weir@'%' IDENTIFIED BY 'secret';\nGRANT ALL ON *.* TO weir@'%' WITH GRANT OPTION;\n"), 0o600))

	m := &MariaDB{t: t, addr: Reserve(t), dir: dir, args: args}
	if names == nil {
		m.args = append([]string{"--skip-name-resolve"}, args...)
	} else {
		var lines strings.Builder
		for ip, name := range names {
			lines.WriteString(ip + " " + name + "\n")
		}
		m.file = filepath.Join(dir, "hosts")
		require.NoError(t, os.WriteFile(m.file, []byte(lines.String()), 0o644))
	}
	m.Up()
	return m
}

// Addr is where it listens.
func (m *MariaDB) Addr() string { return m.addr }

// PID is the process number of the running server.
func (m *MariaDB) PID() int { return m.p.cmd.Process.Pid }

// Up starts the server again after Kill, with the data it had.
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
	if m.file == "" {
		m.p = startProgram(m.t, "mariadbd", args...)
	} else {
		m.p = startProgram(m.t, "unshare", append([]string{"--mount", "sh", "-c", `mount --bind "$0" /etc/hosts && exec mariadbd "$@"`, m.file}, args...)...)
	}
	// Its own word, not a connection: one that is cut before a login counts as an error of this host.
	m.p.waitReady(m.t, 60*time.Second, func() bool { return strings.Contains(m.Log(), "ready for connections") })
}

// Kill ends the server with SIGKILL and returns when it is gone.
func (m *MariaDB) Kill() { m.p.kill() }

// Log is what the server has written to its error log so far.
func (m *MariaDB) Log() string { return m.p.output.String() }

// Client is the command line client, logged in as weir at an address, which may be one in front of the server.
func (m *MariaDB) Client(addr string, args ...string) *exec.Cmd {
	return m.command("mariadb", addr, append([]string{"--batch", "--skip-column-names"}, args...)...)
}

// LoadGenerator is the load generator mariadb-slap, logged in as weir at an address.
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
