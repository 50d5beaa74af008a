package nettest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// PostgreSQL is a real postgres with its own address, data and unix socket. It runs as a user without rights, because it
// refuses to run as root. Its superuser "weir" has the password "secret".
type PostgreSQL struct {
	t    testing.TB
	addr string
	dir  string
	args []string
	p    *program
}

// StartPostgreSQL installs a database and runs postgres until the test ends. Settings have the form "name=value".
// Passwords are stored and checked with scram-sha-256.
func StartPostgreSQL(t testing.TB, settings ...string) *PostgreSQL {
	t.Helper()
	p := newPostgreSQL(t, settings)
	password := p.File("password", "secret\n")
	p.run("initdb", "--pgdata="+p.data(), "--username=weir", "--pwfile="+password, "--auth=scram-sha-256", "--no-sync",
		"--no-instructions", "--locale=C", "--encoding=UTF8")
	p.SetAccess("host replication all all scram-sha-256", "host all all all scram-sha-256", "local all all scram-sha-256")
	p.Up()
	return p
}

// StartStandby copies the database and runs a standby that follows it.
func (p *PostgreSQL) StartStandby(settings ...string) *PostgreSQL {
	p.t.Helper()
	s := newPostgreSQL(p.t, settings)
	s.Follow(p)
	s.Up()
	return s
}

// Follow replaces the data of a server that does not run by a copy of another's, which it follows as a standby.
func (p *PostgreSQL) Follow(primary *PostgreSQL) {
	p.t.Helper()
	require.NoError(p.t, os.RemoveAll(p.data()))
	p.run("pg_basebackup", "--pgdata="+p.data(), "--dbname="+primary.DSN(primary.addr), "--checkpoint=fast", "--write-recovery-conf", "--no-sync")
}

func newPostgreSQL(t testing.TB, settings []string) *PostgreSQL {
	t.Helper()
	// A directory with a short name: the path of the server's unix socket is limited to 107 bytes.
	dir, err := os.MkdirTemp("", "weirpg")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	p := &PostgreSQL{t: t, addr: Reserve(t), dir: dir}
	for _, s := range settings {
		p.args = append(p.args, "-c", s)
	}
	if id := unprivileged(t); id != nil {
		require.NoError(t, os.Chown(dir, int(id.Uid), int(id.Gid)))
	}
	return p
}

// unprivileged returns the user for servers that refuse to run as root, or nil if the test does not run as root.
func unprivileged(t testing.TB) *syscall.Credential {
	if os.Getuid() != 0 {
		return nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.Atoi(u.Uid)
		require.NoError(t, err)
		gid, err := strconv.Atoi(u.Gid)
		require.NoError(t, err)
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	t.Fatal("no user postgres or nobody to run PostgreSQL as")
	return nil
}

// PostgreSQLProgram returns the path of a program of the server, which is not in PATH on Debian.
func PostgreSQLProgram(t testing.TB, name string) string {
	t.Helper()
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	if len(found) > 0 {
		return found[len(found)-1]
	}
	path, err := exec.LookPath(name)
	require.NoError(t, err, "install postgresql to run this test")
	return path
}

// run runs a program of the server to its end.
func (p *PostgreSQL) run(name string, args ...string) {
	p.t.Helper()
	cmd := exec.Command(PostgreSQLProgram(p.t, name), args...)
	cmd.Dir, cmd.Env = p.dir, append(os.Environ(), "LC_ALL=C")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: unprivileged(p.t)}
	out, err := cmd.CombinedOutput()
	require.NoError(p.t, err, "%s: %s", name, out)
}

func (p *PostgreSQL) data() string { return filepath.Join(p.dir, "data") }

// Addr returns the server's address.
func (p *PostgreSQL) Addr() string { return p.addr }

// Socket returns the path of the server's unix socket.
func (p *PostgreSQL) Socket() string {
	_, port, _ := net.SplitHostPort(p.addr)
	return filepath.Join(p.dir, ".s.PGSQL."+port)
}

// DSN returns the connection string of the superuser for an address, which may be a proxy of the server.
func (p *PostgreSQL) DSN(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	require.NoError(p.t, err)
	return fmt.Sprintf("host=%s port=%s user=weir password=secret dbname=postgres connect_timeout=30", host, port)
}

// PID returns the process number of the running server.
func (p *PostgreSQL) PID() int { return p.p.cmd.Process.Pid }

// Log returns the server's log since its last start.
func (p *PostgreSQL) Log() string { return p.p.output.String() }

// File writes a file that only the server may read, as it demands of keys, and returns its path.
func (p *PostgreSQL) File(name, text string) string {
	p.t.Helper()
	path := filepath.Join(p.dir, name)
	require.NoError(p.t, os.WriteFile(path, []byte(text), 0o600))
	if id := unprivileged(p.t); id != nil {
		require.NoError(p.t, os.Chown(path, int(id.Uid), int(id.Gid)))
	}
	return path
}

// SetAccess replaces pg_hba.conf. A running server reads it when it is reloaded.
func (p *PostgreSQL) SetAccess(lines ...string) {
	p.t.Helper()
	path := p.File("hba", strings.Join(lines, "\n")+"\n")
	require.NoError(p.t, os.Rename(path, filepath.Join(p.data(), "pg_hba.conf")))
}

// Reload makes the server read its files again, and waits until it has.
func (p *PostgreSQL) Reload() {
	p.t.Helper()
	before := strings.Count(p.Log(), "reloading configuration files")
	require.NoError(p.t, p.p.cmd.Process.Signal(syscall.SIGHUP))
	Wait(p.t, 10*time.Second, "the server to reload", func() bool {
		return strings.Count(p.Log(), "reloading configuration files") > before
	})
}

// Start starts the server after Kill or Stop with its data, and further settings, and does not wait until it serves.
func (p *PostgreSQL) Start(settings ...string) {
	p.t.Helper()
	host, port, err := net.SplitHostPort(p.addr)
	require.NoError(p.t, err)
	args := append([]string{
		"-D", p.data(), "-h", host, "-p", port, "-k", p.dir, "-c", "fsync=off", "-c", "shared_buffers=16MB", "-c", "max_connections=20",
		"-c", "max_wal_senders=4", "-c", "wal_receiver_status_interval=1", "-c", "wal_retrieve_retry_interval=200ms",
		"-c", "logging_collector=off", "-c", "lc_messages=C", "-c", "autovacuum=off",
	}, p.args...)
	for _, s := range settings {
		args = append(args, "-c", s)
	}
	p.p = startProgramIn(p.t, &syscall.SysProcAttr{Credential: unprivileged(p.t)}, PostgreSQLProgram(p.t, "postgres"), args...)
}

// Up starts the server and waits until it serves.
func (p *PostgreSQL) Up(settings ...string) {
	p.t.Helper()
	p.Start(settings...)
	p.p.waitReady(p.t, 60*time.Second, func() bool { return strings.Contains(p.Log(), "ready to accept") })
}

// Kill ends the server and its children with SIGKILL and returns when it has ended.
func (p *PostgreSQL) Kill() {
	children := Process(p.PID()).Children()
	p.p.kill()
	for _, pid := range children { // they would see the end of their parent only later
		_ = syscall.Kill(int(pid), syscall.SIGKILL)
	}
}

// Stop shuts the server down at once; its clients are disconnected.
func (p *PostgreSQL) Stop() {
	_ = p.p.cmd.Process.Signal(syscall.SIGINT)
	<-p.p.done
}

// Promote makes a standby the primary.
func (p *PostgreSQL) Promote() {
	p.t.Helper()
	require.Equal(p.t, "t", p.Query(p.addr, "SELECT pg_promote()"))
}

// Client returns psql, logged in as the superuser at an address, which may be a proxy of the server.
func (p *PostgreSQL) Client(addr string, args ...string) *exec.Cmd {
	cmd := exec.Command("psql", append([]string{"--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--set=ON_ERROR_STOP=1", p.DSN(addr)}, args...)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	return cmd
}

// Query runs statements at an address, each in its own transaction, and returns what they print.
func (p *PostgreSQL) Query(addr string, statements ...string) string {
	p.t.Helper()
	var args []string
	for _, s := range statements {
		args = append(args, "--command="+s)
	}
	out, err := p.Client(addr, args...).CombinedOutput()
	require.NoError(p.t, err, "%s", out)
	return strings.TrimSpace(string(out))
}
