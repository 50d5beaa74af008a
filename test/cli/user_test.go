package cli_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// weir binds as root and serves as another user, on all threads, with the capability to bind low ports and no other.
// Its files belong to the user; a reload, a reopened log, exec checks and an upgrade work as before.
func TestUser(t *testing.T) {
	program, err := weirtest.StaticProgram()
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
	l := weirtest.Config{
		Listen: "127.0.0.1:601", Runtime: `user = "nobody"`, Levels: weirtest.OneLevel("127.0.0.1:7001"),
		Checks: fmt.Sprintf("[[cluster.c.check]]\ntype = \"exec\"\ninterval = \"2s\"\ntimeout = \"2s\"\ncommand = [\"/bin/sh\", \"-c\", \"(id -u; grep Cap /proc/self/status) > %s\"]\n", who),
	}
	a := weirtest.NewAPI(t)
	require.NoError(t, os.Chmod(filepath.Dir(a.Socket), 0o777))
	config := a.AddTo(l.String())
	config = strings.Replace(config, "[log]", fmt.Sprintf("[log]\nfile = %q", logFile), 1)
	read := func() string { text, _ := os.ReadFile(logFile); return string(text) }
	w := weirtest.Options{Namespace: ns, Program: program}.StartUnready(t, config)
	require.NoError(t, os.Chmod(filepath.Dir(w.File), 0o755))
	nettest.Wait(t, 20*time.Second, "weir to be ready", func() bool { return strings.Contains(read(), `"ready"`) })

	served := func(at string) {
		t.Helper()
		c := ns.Dial(at)
		defer c.Close()
		require.Equal(t, "x", weirtest.ReadByte(t, c))
	}
	served(l.Listen)
	checkUnprivileged := func() {
		t.Helper()
		require.Equal(t, []string{"65534 65534 65534 65534"}, w.ThreadStatus("Uid"))
		require.Equal(t, []string{"65534 65534 65534 65534"}, w.ThreadStatus("Gid"))
		require.Equal(t, []string{"65534"}, w.ThreadStatus("Groups"))
		require.Equal(t, []string{"0000000000000400"}, w.ThreadStatus("CapEff"))
		require.Equal(t, []string{"0000000000000400"}, w.ThreadStatus("CapPrm"))
		require.Equal(t, []string{"0000000000000000"}, w.ThreadStatus("CapInh"))
		require.Equal(t, []string{"0000000000000000"}, w.ThreadStatus("CapAmb"))
	}
	checkUnprivileged()
	for _, file := range []string{logFile, a.Socket} {
		info, err := os.Stat(file)
		require.NoError(t, err)
		require.EqualValues(t, 65534, info.Sys().(*syscall.Stat_t).Uid, file)
	}
	nettest.Wait(t, 20*time.Second, "the check's program", func() bool {
		text, _ := os.ReadFile(who)
		return strings.HasPrefix(string(text), "65534\n") && strings.Contains(string(text), "CapEff:\t0000000000000000\n")
	})

	low := strings.Replace(config, `"127.0.0.1:601"`, `["127.0.0.1:601", "127.0.0.1:602", "0.0.0.0:601"]`, 1)
	w.WriteConfig(low)
	a.MustDo("POST /v1/reload", "")
	served("127.0.0.1:602")
	require.NoError(t, os.Rename(logFile, logFile+".1"))
	w.Signal(syscall.SIGUSR1)
	nettest.Wait(t, 20*time.Second, "the new log", func() bool { _, err := os.Stat(logFile); return err == nil })
	for _, other := range []string{`user = ""`, `user = "daemon"`} {
		w.WriteConfig(strings.Replace(strings.Replace(low, `user = "nobody"`, other, 1), "127.0.0.1:602", "127.0.0.1:603", 1))
		code, text := a.Do("POST /v1/reload", "")
		require.GreaterOrEqual(t, code, 400)
		require.Contains(t, text, "runtime.user: cannot change from")
		served("127.0.0.1:602")
	}
	w.WriteConfig(low)
	a.MustRunCommand("upgrade")
	w.WaitSuccessor(a.PID())
	checkUnprivileged()
	served("127.0.0.1:602")
	w.WriteConfig(strings.Replace(low, "127.0.0.1:602", "127.0.0.1:604", 1))
	a.MustDo("POST /v1/reload", "")
	served("127.0.0.1:604")
}

// Errors of the user change are reported by the start and by weir check.
func TestInvalidUser(t *testing.T) {
	program, err := weirtest.StaticProgram()
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
	l := weirtest.Config{Listen: nettest.Reserve(t), Levels: weirtest.OneLevel("127.0.0.1:1"), Runtime: `user = "who-is-this"`}
	require.Contains(t, attempt(l.String(), program, "check"), "runtime.user: who-is-this: unknown user")
	require.Contains(t, attempt(l.String(), program, "run"), "runtime.user: who-is-this: unknown user")
	l.Runtime = `user = "4711"`
	require.Contains(t, attempt(l.String(), program, "run"), "needs a group too")
	l.Runtime = `user = "daemon"`
	require.Contains(t, attempt(l.String(), "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", program, "run"), "only root may change to another user")
	tokened := strings.Replace(l.String(), `listen = ""`, fmt.Sprintf("listen = %q\ntoken_file = %q", nettest.Reserve(t), secret), 1)
	require.Contains(t, attempt(tokened, program, "run"), "token: permission denied")
}
