package cli_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// sharedDir returns a directory that every user can write to, below directories that every user can enter.
func sharedDir(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(weirtest.ShortTempDir(t), "own")
	require.NoError(t, os.Mkdir(dir, 0o777))
	require.NoError(t, os.Chmod(dir, 0o777))
	require.NoError(t, os.Chmod(filepath.Dir(dir), 0o755))
	return dir
}

// The process and its children cannot gain privileges: no_new_privs and the bounding set, on all threads, with and without
// runtime.user, also after an upgrade.
func TestPrivilegesCannotBeGained(t *testing.T) {
	program, err := weirtest.StaticProgram()
	require.NoError(t, err)
	host := nettest.Start(t, nettest.Echo)
	var own uint64 // the tests may run without some capabilities
	for line := range strings.Lines(weirtest.ReadFile(t, "/proc/self/status")) {
		fmt.Sscanf(line, "CapBnd: %x", &own)
	}
	for user, keep := range map[string]uint64{"nobody": 0x400, "": 0x18035ff} {
		bounding := fmt.Sprintf("%016x", keep&own)
		dir := sharedDir(t)
		l := weirtest.Config{Listen: nettest.Reserve(t), Levels: weirtest.OneLevel(host.Addr()), Runtime: fmt.Sprintf("user = %q", user)}
		a := weirtest.NewAPIAt(t, dir+"/admin.sock")
		w := weirtest.Options{Program: program, File: dir + "/weir.toml"}.StartUnready(t, a.AddTo(l.String()))
		w.WaitRecord(10*time.Second, "the start", func(r weirtest.Record) bool { return r.IsEvent("ready") })
		for range 2 {
			require.Equal(t, []string{"1"}, w.ThreadStatus("NoNewPrivs"), user)
			require.Equal(t, []string{bounding}, w.ThreadStatus("CapBnd"), user)
			require.Equal(t, []string{bounding}, w.ThreadStatus("CapPrm"), user)
			a.MustRunCommand("upgrade")
			w.WaitSuccessor(a.PID())
		}
		text, _ := weirtest.EchoOnce(t, l.Listen)
		require.Equal(t, "hello", text)
	}
}

// A process that runs as the user already must not have groups that the user lacks.
func TestUserWithForeignGroupsIsRefused(t *testing.T) {
	program, err := weirtest.StaticProgram()
	require.NoError(t, err)
	for _, c := range []struct {
		flags []string
		want  string
	}{
		{[]string{"--regid=0", "--clear-groups"}, "the process also has group 0, which only root may drop"},
		{[]string{"--regid=65534", "--groups=0,65534"}, "the process also has the supplementary group 0"},
		{[]string{"--regid=65534", "--clear-groups"}, ""},
	} {
		wrapper := append([]string{"setpriv", "--reuid=65534"}, c.flags...)
		l := weirtest.Config{Listen: nettest.Reserve(t), Levels: weirtest.OneLevel("127.0.0.1:1"), Runtime: `user = "nobody"`}
		file := filepath.Join(sharedDir(t), "weir.toml")
		require.NoError(t, os.WriteFile(file, []byte(l.String()), 0o644))
		w := weirtest.Options{Program: program, Wrapper: wrapper, File: file}.StartUnready(t, l.String())
		if c.want == "" {
			w.WaitRecord(10*time.Second, "the start", func(r weirtest.Record) bool { return r.IsEvent("ready") })
			continue
		}
		require.Equal(t, 2, w.WaitExit(10*time.Second))
		require.Contains(t, w.Output(), c.want)
	}
}

// Descriptors that weir inherits are closed.
func TestInheritedDescriptorsAreClosed(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	l := weirtest.Config{Listen: nettest.Reserve(t), Levels: weirtest.OneLevel(host.Addr())}
	w := weirtest.Options{Wrapper: []string{"sh", "-c", `exec 3< /etc/hostname 9< /etc/passwd; exec "$@"`, "sh"}}.Start(t, l.String())
	for _, target := range w.Process().Descriptors() {
		require.NotContains(t, []string{"/etc/hostname", "/etc/passwd"}, target)
	}
}

// Programs of checks and hooks get no variables that concern only weir, and no passwords.
func TestProgramsGetNoPrivateVariables(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	dir := t.TempDir()
	program := func(name string) string {
		return fmt.Sprintf(`["/bin/sh", "-c", "env > %s/%s.new && mv %[1]s/%[2]s.new %[1]s/%[2]s; exit 1"]`, dir, name)
	}
	l := weirtest.Config{
		Levels: weirtest.OneLevel(host.Addr()), Cluster: "protected = false",
		Checks: "[[cluster.c.check]]\ntype = \"exec\"\ninterval = \"2s\"\ntimeout = \"2s\"\nfall = 1\ncommand = " + program("check") + "\n" +
			"[[cluster.c.check]]\ntype = \"redis\"\npassword_env = \"REDIS_SECRET\"\n",
		More: "[[event]]\nname = \"e\"\non = [\"server_down\"]\nexec = " + program("hook") + "\n",
	}
	l.Listen = nettest.Reserve(t)
	weirtest.Options{Env: []string{
		"NOTIFY_SOCKET=/nowhere", "WATCHDOG_USEC=600000000", "WATCHDOG_PID=1", "LISTEN_PID=1", "LISTEN_FDS=1", "LISTEN_FDNAMES=x",
		"REDIS_SECRET=swordfish", "WEIR_ANNOUNCE=77", "KEPT=yes",
	}}.Start(t, l.String())
	for _, name := range []string{"check", "hook"} {
		nettest.Wait(t, 20*time.Second, "the program", func() bool { return weirtest.ReadFile(t, filepath.Join(dir, name)) != "" })
		env := weirtest.ReadFile(t, filepath.Join(dir, name))
		require.Contains(t, env, "KEPT=yes")
		require.Contains(t, env, "WEIR_CLUSTER=c")
		for _, absent := range []string{"NOTIFY_SOCKET", "WATCHDOG_", "LISTEN_", "REDIS_SECRET", "swordfish", "WEIR_ANNOUNCE", "WEIR_HANDOVER"} {
			require.NotContains(t, env, absent, name)
		}
	}
}

// Root opens no log file and replaces no state file through a link of another user.
func TestForeignLinksAreNotFollowed(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	for _, c := range []struct {
		name        string
		uid, linked int
		log, fails  bool
	}{
		{"log, link of another user", 65534, 0, true, true},
		{"log, link of root", 0, 0, true, false},
		{"state, link of another user", 65534, 0, false, true},
		{"state, link of root", 0, 0, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := sharedDir(t)
			victim, link := filepath.Join(t.TempDir(), "victim"), filepath.Join(dir, "link")
			if c.log {
				require.NoError(t, os.WriteFile(victim, []byte("precious\n"), 0o600))
			}
			require.NoError(t, os.Symlink(victim, link))
			require.NoError(t, os.Lchown(link, c.uid, c.uid))
			l := weirtest.Config{Listen: nettest.Reserve(t), Levels: weirtest.OneLevel(host.Addr())}
			config := l.String()
			if c.log {
				config = strings.Replace(config, "[log]", fmt.Sprintf("[log]\nfile = %q", link), 1)
			} else {
				config = strings.Replace(config, "[runtime]", fmt.Sprintf("[runtime]\nstate_file = %q", link), 1)
			}
			w := weirtest.Options{}.StartUnready(t, config)
			switch {
			case c.log && c.fails:
				require.Equal(t, 1, w.WaitExit(10*time.Second))
				require.Contains(t, w.Output(), "log.file: "+link+": link of another user")
				require.Equal(t, "precious\n", weirtest.ReadFile(t, victim))
			case c.log:
				nettest.Wait(t, 20*time.Second, "the log", func() bool { return strings.Contains(weirtest.ReadFile(t, victim), `"ready"`) })
			case c.fails:
				w.WaitRecord(10*time.Second, "the refusal", func(r weirtest.Record) bool { return r.IsEvent("state file: cannot be written") })
				require.Empty(t, weirtest.ReadFile(t, victim))
			default:
				nettest.Wait(t, 20*time.Second, "the state", func() bool { return weirtest.ReadFile(t, victim) != "" })
			}
		})
	}
}

// Root binds no socket below a link of another user, and keeps the file of another program's socket there. In a directory
// of another user it binds.
func TestSocketsBelowForeignLinksAreRefused(t *testing.T) {
	t.Parallel()
	program, err := weirtest.StaticProgram()
	require.NoError(t, err)
	host := nettest.Start(t, nettest.Echo)
	dir, victim := sharedDir(t), weirtest.ShortTempDir(t)
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: victim + "/s", Net: "unix"})
	require.NoError(t, err)
	stale.SetUnlinkOnClose(false)
	stale.Close()
	before, err := os.Lstat(victim + "/s")
	require.NoError(t, err)
	require.NoError(t, os.Symlink(victim, dir+"/link"))
	require.NoError(t, os.Lchown(dir+"/link", 65534, 65534))
	for _, name := range []string{"s", "new"} {
		l := weirtest.Config{Listen: "unix:" + dir + "/link/" + name, Levels: weirtest.OneLevel(host.Addr())}
		w := weirtest.Options{}.StartUnready(t, l.String())
		require.Equal(t, 2, w.WaitExit(10*time.Second))
		require.Contains(t, w.Output(), dir+"/link: link of another user")

		l.Listen = nettest.Reserve(t)
		w = weirtest.Options{}.StartUnready(t, weirtest.NewAPIAt(t, dir+"/link/"+name).AddTo(l.String()))
		require.Equal(t, 2, w.WaitExit(10*time.Second))
		require.Contains(t, w.Output(), dir+"/link: link of another user")
	}
	entries, err := os.ReadDir(victim)
	require.NoError(t, err)
	require.Len(t, entries, 1)
	after, err := os.Lstat(victim + "/s")
	require.NoError(t, err)
	require.True(t, os.SameFile(before, after))

	require.NoError(t, os.Chown(dir, 65534, 65534))
	l := weirtest.Config{Listen: "unix:" + dir + "/l", Levels: weirtest.OneLevel(host.Addr()), Runtime: `user = "nobody"`}
	a := weirtest.NewAPIAt(t, dir+"/made/api")
	w := weirtest.Options{Program: program, File: dir + "/weir.toml"}.StartUnready(t, a.AddTo(l.String()))
	w.WaitRecord(10*time.Second, "the start", func(r weirtest.Record) bool { return r.IsEvent("ready") })
	a.MustRunCommand("status")
	c, err := net.Dial("unix", dir+"/l")
	require.NoError(t, err)
	c.Close()
}

// A reload that names another file as state_file sets that file aside.
func TestReloadSetsForeignStateFileAside(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	l := weirtest.Config{Levels: weirtest.OneLevel(host.Addr())}
	w, addr, a := weirtest.ServeAPI(t, l)
	l.Listen = addr
	file := filepath.Join(t.TempDir(), "precious.txt")
	require.NoError(t, os.WriteFile(file, []byte("precious\n"), 0o600))
	w.WriteConfig(strings.Replace(a.AddTo(l.String()), "[runtime]", fmt.Sprintf("[runtime]\nstate_file = %q", file), 1))
	a.MustDo("POST /v1/reload", "")
	nettest.Wait(t, 20*time.Second, "the state", func() bool { return strings.Contains(weirtest.ReadFile(t, file), "saved_at") })
	aside, _ := filepath.Glob(file + ".bad-*")
	require.Len(t, aside, 1)
	require.Equal(t, "precious\n", weirtest.ReadFile(t, aside[0]))
	a.MustRunCommand("server", "c/"+host.Addr(), "drain")
	aside, _ = filepath.Glob(file + ".bad-*")
	require.Len(t, aside, 1, "its own file is not set aside")
}

// A unix listener's file has the configured mode and owner, whatever the umask. A removed file is made again by a reload and
// by an upgrade, and sessions continue.
func TestUnixListenerFile(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	dir := weirtest.ShortTempDir(t)
	path := filepath.Join(dir, "l.sock")
	a := weirtest.NewAPI(t)
	l := weirtest.Config{Listen: "unix:" + path, Levels: weirtest.OneLevel(host.Addr())}
	w := weirtest.Options{Wrapper: []string{"sh", "-c", `umask 077; exec "$@"`, "sh"}, Program: weirtest.CopyProgram(t)}.Start(t, a.AddTo(l.String()))
	is := func(mode os.FileMode, uid, gid uint32) {
		t.Helper()
		info, err := os.Lstat(path)
		require.NoError(t, err)
		require.Equal(t, mode, info.Mode().Perm())
		stat := info.Sys().(*syscall.Stat_t)
		require.Equal(t, [2]uint32{uid, gid}, [2]uint32{stat.Uid, stat.Gid})
	}
	is(0o666, 0, 0)
	info, err := os.Lstat(a.Socket)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o660), info.Mode().Perm())
	session := weirtest.DialUnix(t, path)
	require.NoError(t, weirtest.PingPong(session))
	l.Listener = "unix_mode = \"0640\"\nunix_owner = \"daemon\"\nunix_group = \"4242\""
	w.WriteConfig(a.AddTo(l.String()))
	a.MustDo("POST /v1/reload", "")
	is(0o640, 1, 4242)

	require.NoError(t, os.Remove(path))
	a.MustDo("POST /v1/reload", "")
	is(0o640, 1, 4242)
	require.NoError(t, weirtest.PingPong(weirtest.DialUnix(t, path)))
	require.NoError(t, weirtest.PingPong(session))

	require.NoError(t, os.Remove(path))
	require.NoError(t, os.Remove(a.Socket))
	w.Upgrade()
	is(0o640, 1, 4242)
	require.NoError(t, weirtest.PingPong(weirtest.DialUnix(t, path)))
	require.NoError(t, weirtest.PingPong(session))
	require.Equal(t, int(w.Process()), a.PID())
	require.NoError(t, os.Remove(a.Socket))
	w.Signal(syscall.SIGHUP)
	nettest.Wait(t, 20*time.Second, "the socket of the API", func() bool {
		c, err := net.Dial("unix", a.Socket) // its file is there before it listens
		if err != nil {
			return false
		}
		return c.Close() == nil
	})
	require.Equal(t, int(w.Process()), a.PID())
}

// The mode and the owners are checked with their positions.
func TestUnknownSocketOwner(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "weir.toml")
	l := weirtest.Config{Listen: "unix:/run/x.sock", Levels: weirtest.OneLevel("127.0.0.1:1"), Listener: "unix_owner = \"no-such-user\"\nunix_group = \"no-such-group\""}
	require.NoError(t, os.WriteFile(file, []byte(l.String()), 0o644))
	code, out := weirtest.RunCommand(t, "check", "-c", file)
	require.Equal(t, 1, code)
	require.Contains(t, out, "listener[0].unix_owner: unknown user no-such-user")
	require.Contains(t, out, "listener[0].unix_group: unknown group no-such-group")
}

// A port below 1024 without the capability is refused with its name.
func TestLowPortNamesCapability(t *testing.T) {
	t.Parallel()
	ns := nettest.NewNamespace(t)
	dir := sharedDir(t)
	file := filepath.Join(dir, "weir.toml")
	l := weirtest.Config{Listen: "127.0.0.1:80", Levels: weirtest.OneLevel("127.0.0.1:1")}
	w := weirtest.Options{
		Namespace: ns, File: file, Wrapper: []string{"setpriv", "--bounding-set=-net_bind_service", "--"},
	}.StartUnready(t, l.String())
	require.Equal(t, 2, w.WaitExit(10*time.Second))
	require.Contains(t, w.Output(), "listen on 127.0.0.1:80: permission denied: ports below 1024 need the capability CAP_NET_BIND_SERVICE")
}
