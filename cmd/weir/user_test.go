package main_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
)

// static is weir as it is shipped, without cgo: only such a build can change its user.
var static = sync.OnceValues(func() (string, error) {
	file := filepath.Join(filepath.Dir(binary), "weir-static")
	build := exec.Command("go", "build", "-trimpath", "-o", file, "weir/cmd/weir")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	os.Chmod(filepath.Dir(binary), 0o755) // for the user that weir becomes
	return file, nil
})

// statuses are the lines of a kind in the status of every thread, without what is the same.
func (w *weir) statuses(kind string) []string {
	w.t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", w.proc()))
	require.NoError(w.t, err)
	seen := map[string]bool{}
	var lines []string
	for _, file := range files {
		text, _ := os.ReadFile(file)
		for line := range strings.Lines(string(text)) {
			if rest, ok := strings.CutPrefix(line, kind+":"); ok && !seen[rest] {
				seen[rest] = true
				lines = append(lines, strings.Join(strings.Fields(rest), " "))
			}
		}
	}
	return lines
}

// weir binds as root and serves as somebody else, on all threads, with the right to bind low ports and no other. What it
// has made is the user's; a reload, a reopened log, checks that run programs and an upgrade work as before.
func TestUser(t *testing.T) {
	program, err := static()
	require.NoError(t, err)
	dir := filepath.Join(t.TempDir(), "own")
	require.NoError(t, os.MkdirAll(dir, 0o777))
	require.NoError(t, os.Chmod(dir, 0o777))
	require.NoError(t, os.Chmod(filepath.Dir(dir), 0o755))
	require.NoError(t, os.Chmod(filepath.Dir(filepath.Dir(dir)), 0o755))
	who := filepath.Join(dir, "who")
	logFile := filepath.Join(dir, "weir.log")
	ns := nettest.NewNamespace(t)
	ns.Start("127.0.0.1:7001", nettest.Greet("x", nettest.Echo))
	l := layout{
		listen: "127.0.0.1:601", runtime: `user = "nobody"`, levels: servers("127.0.0.1:7001"),
		checks: fmt.Sprintf("[[cluster.c.check]]\ntype = \"exec\"\ninterval = \"200ms\"\ntimeout = \"200ms\"\ncommand = [\"/bin/sh\", \"-c\", \"(id -u; grep Cap /proc/self/status) > %s\"]\n", who),
	}
	a := newAPI(t)
	require.NoError(t, os.Chmod(filepath.Dir(a.socket), 0o777))
	config := a.at(l.String())
	config = strings.Replace(config, "[log]", fmt.Sprintf("[log]\nfile = %q", logFile), 1)
	read := func() string { text, _ := os.ReadFile(logFile); return string(text) }
	w := launch{ns: ns, program: program}.launch(t, config)
	require.NoError(t, os.Chmod(filepath.Dir(w.file), 0o755))
	nettest.Wait(t, 5*time.Second, "weir to be ready", func() bool { return strings.Contains(read(), `"ready"`) })

	served := func(at string) {
		t.Helper()
		c := ns.Dial(at)
		defer c.Close()
		require.Equal(t, "x", first(t, c))
	}
	served(l.listen)
	isNobody := func() {
		t.Helper()
		require.Equal(t, []string{"65534 65534 65534 65534"}, w.statuses("Uid"))
		require.Equal(t, []string{"65534 65534 65534 65534"}, w.statuses("Gid"))
		require.Equal(t, []string{"65534"}, w.statuses("Groups"))
		require.Equal(t, []string{"0000000000000400"}, w.statuses("CapEff"))
		require.Equal(t, []string{"0000000000000400"}, w.statuses("CapPrm"))
		require.Equal(t, []string{"0000000000000000"}, w.statuses("CapInh"))
		require.Equal(t, []string{"0000000000000000"}, w.statuses("CapAmb"))
	}
	isNobody()
	for _, file := range []string{logFile, a.socket} {
		info, err := os.Stat(file)
		require.NoError(t, err)
		require.EqualValues(t, 65534, info.Sys().(*syscall.Stat_t).Uid, file)
	}
	nettest.Wait(t, 5*time.Second, "the check's program", func() bool {
		text, _ := os.ReadFile(who)
		return strings.HasPrefix(string(text), "65534\n") && strings.Contains(string(text), "CapEff:\t0000000000000000\n")
	})

	low := strings.Replace(config, `"127.0.0.1:601"`, `["127.0.0.1:601", "127.0.0.1:602", "0.0.0.0:601"]`, 1)
	w.write(low)
	a.ok("POST /v1/reload", "")
	served("127.0.0.1:602")
	require.NoError(t, os.Rename(logFile, logFile+".1"))
	w.signal(syscall.SIGUSR1)
	nettest.Wait(t, 5*time.Second, "the new log", func() bool { _, err := os.Stat(logFile); return err == nil })
	for _, other := range []string{`user = ""`, `user = "daemon"`} {
		w.write(strings.Replace(strings.Replace(low, `user = "nobody"`, other, 1), "127.0.0.1:602", "127.0.0.1:603", 1))
		code, text := a.do("POST /v1/reload", "")
		require.GreaterOrEqual(t, code, 400)
		require.Contains(t, text, "runtime.user: cannot change from")
		served("127.0.0.1:602")
	}
	w.write(low)
	a.done("upgrade")
	w.succeeded(a.pid())
	isNobody()
	served("127.0.0.1:602")
	w.write(strings.Replace(low, "127.0.0.1:602", "127.0.0.1:604", 1))
	a.ok("POST /v1/reload", "")
	served("127.0.0.1:604")
}

// What stands in the way of another user is said at the start, and by check.
func TestUserThatCannotBe(t *testing.T) {
	program, err := static()
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o755))
	require.NoError(t, os.Chmod(filepath.Dir(dir), 0o755))
	secret := filepath.Join(dir, "token")
	require.NoError(t, os.WriteFile(secret, []byte("0123456789abcdef0123456789abcdef\n"), 0o600))
	file := filepath.Join(dir, "weir.toml")
	attempt := func(config string, args ...string) string {
		require.NoError(t, os.WriteFile(file, []byte(config), 0o644))
		cmd := exec.Command(args[0], append(args[1:], "-c", file)...)
		out, err := cmd.CombinedOutput()
		require.Error(t, err, "%s", out)
		require.Contains(t, []int{1, 2}, cmd.ProcessState.ExitCode(), "%s", out)
		return string(out)
	}
	l := layout{listen: nettest.Reserve(t), levels: servers("127.0.0.1:1"), runtime: `user = "who-is-this"`}
	require.Contains(t, attempt(l.String(), program, "check"), "runtime.user: who-is-this: unknown user")
	require.Contains(t, attempt(l.String(), program, "run"), "runtime.user: who-is-this: unknown user")
	l.runtime = `user = "4711"`
	require.Contains(t, attempt(l.String(), program, "run"), "needs a group too")
	l.runtime = `user = "daemon"`
	require.Contains(t, attempt(l.String(), "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", program, "run"), "only root may change to another user")
	tokened := strings.Replace(l.String(), `listen = ""`, fmt.Sprintf("listen = %q\ntoken_file = %q", nettest.Reserve(t), secret), 1)
	require.Contains(t, attempt(tokened, program, "run"), "token: permission denied")
}
