// Client commands against a running weir.

package cli_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
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

func TestClientServer(t *testing.T) {
	t.Parallel()
	hostA, hostB, hostC := nettest.Start(t, nettest.SendText("A")), nettest.Start(t, nettest.SendText("B")), nettest.Start(t, nettest.SendText("C"))
	w, addr, a := weirtest.ServeAPI(t, weirtest.Config{Levels: weirtest.OneLevel(hostA.Addr()+" name=A", hostB.Addr()+" name=B")})
	out := a.MustRunCommand("server", "c/A", "drain", "--reason", "new kernel")
	require.Contains(t, out, "c/A: drain")
	require.NotContains(t, out, "warning")
	require.Equal(t, "BB", weirtest.ReadSessions(t, addr, 2))
	w.SignalReload("reload")
	require.Equal(t, "BB", weirtest.ReadSessions(t, addr, 2))
	out = a.MustRunCommand("explain", "c/A")
	require.Contains(t, out, "c/A at "+hostA.Addr()+" is drain")
	require.Contains(t, out, "new kernel")
	require.Contains(t, out, "> override")
	out = a.MustRunCommand("status")
	require.Contains(t, out, "*  A")
	require.Contains(t, out, "an operator has overridden")

	a.MustRunCommand("server", "c/A", "reset")
	require.Contains(t, a.MustRunCommand("server", "c/A", "weight", "9"), "weight 9")
	require.Equal(t, 9, strings.Count(weirtest.ReadSessions(t, addr, 10), "A"))
	a.MustRunCommand("server", "c/A", "reset")
	a.MustRunCommand("server", "c/B", "maint")
	require.Equal(t, "AA", weirtest.ReadSessions(t, addr, 2))
	require.Contains(t, a.MustRunCommand("server", "c/A", "drain"), "\nwarning: it was the last eligible server of cluster c: no server takes new sessions\n")
	a.MustRunCommand("server", "c/A", "ready")
	a.MustRunCommand("server", "c/B", "ready")

	a.MustRunCommand("server", "c/C", "add", hostC.Addr(), "weight=2", "--level", "1")
	require.Contains(t, a.MustRunCommand("status", "c"), "+  C")
	require.Equal(t, 4, strings.Count(weirtest.ReadSessions(t, addr, 8), "C"))
	a.MustRunCommand("server", "c/C", "remove")
	a.MustRunCommand("server", "c/A", "remove")
	require.Contains(t, a.MustRunCommand("status", "c"), "removed at run time: A")
	require.Equal(t, "BB", weirtest.ReadSessions(t, addr, 2))

	for _, args := range [][]string{
		{"server", "c/Z", "drain"},
		{"server", "c", "drain"},
		{"server", "c/B", "explode"},
		{"server", "c/B", "weight"},
		{"server", "c/B", "weight", "many"},
		{"server", "c/B", "weight", "257"},
		{"server", "c/B", "drain", "now"},
		{"server", "c/X", "add", "nonsense"},
		{"server", "c/B", "add", hostC.Addr()},
		{"server", "c/X", "add", hostC.Addr(), "wieght=3"},
		{"explain", "c/Z"},
		{"status", "d"},
		{"server"},
	} {
		code, out := a.RunCommand(args...)
		require.Equal(t, 1, code, "%v: %s", args, out)
		require.NotEmpty(t, out)
	}
}

func TestClientChangesServerSessionAndLevel(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	_, addr, a := weirtest.ServeAPI(t, weirtest.Config{Levels: weirtest.OneLevel(host.Addr()+" name=alpha", host.Addr()+" name=beta state=maint")})
	a.MustRunCommand("server", "c/alpha", "max_sessions", "5")
	require.EqualValues(t, 5, a.Server("alpha")["max_sessions"])
	a.MustRunCommand("server", "c/alpha", "reset")
	require.EqualValues(t, 0, a.Server("alpha")["max_sessions"])

	c := nettest.Dial(t, addr)
	require.NoError(t, weirtest.PingPong(c))
	id := fmt.Sprintf("%.0f", a.Sessions()[0].(map[string]any)["id"])
	require.Equal(t, "session "+id+": closed\n", a.MustRunCommand("session", id, "close"))
	_, end := nettest.ReadToEnd(c, 20*time.Second)
	require.Equal(t, nettest.Reset, end)

	a.MustRunCommand("server", "c/beta", "remove")
	require.Nil(t, a.Server("beta"))
	code, out := a.RunCommand("server", "c/beta", "drain")
	require.Equal(t, 1, code)
	require.Contains(t, out, "weir server c/beta restore")
	require.Contains(t, a.MustRunCommand("server", "c/beta", "restore"), "c/beta: maint")
	require.NotNil(t, a.Server("beta"))
	require.Nil(t, a.Get("clusters", 0, "removed"))
	require.NotContains(t, a.MustRunCommand("failback", "c", "--help"), "unknown")
}

// Mistakes are named for what they are, with the word that was probably meant.
func TestClientNamesMistakes(t *testing.T) {
	t.Parallel()
	_, _, a := weirtest.ServeAPI(t, weirtest.Config{Levels: weirtest.OneLevel("127.0.0.1:1 name=alpha")})
	for _, c := range []struct{ words, says string }{
		{"server|c/alpha|drain|now", `unexpected argument "now": drain takes no argument`},
		{"server|c/alpha|weight|3|4", `unexpected argument "4": weight takes one number`},
		{"server|c/alpha|weight", "weight: want a number"},
		{"server|c/alpha|max_sessions|many", `max_sessions: want a number, got "many"`},
		{"server|c/alpha|drian", `unknown action "drian"; did you mean "drain"?`},
		{"server|c/alpha|drain|--level|2", "unexpected flag --level"},
		{"server|c/alpha|reset|--reason|x", "unexpected flag --reason"},
		{"server|c/alhpa|drain", `cluster c has no server alhpa; did you mean "alpha"?`},
		{"explain|c/alph", `did you mean "alpha"?`},
		{"status|d|", "no cluster d"},
		{"statsu", `unknown command "statsu"; did you mean "status"?`},
		{"session|x|close", `want the ID of a session (weir sessions lists them), got "x"`},
		{"session|1|closed", `unknown action "closed"; did you mean "close"?`},
		{"session|99999|close", "session 99999: no such session; weir sessions lists the IDs"},
		{"drain|c/alpha", `did you mean "weir server CLUSTER/SERVER drain"?`},
		{"server|c/alpha|weight|-1", `unexpected argument "-1"`},
		{"status|--jsn", "unknown flag --jsn; did you mean --json?"},
		{"node|drain|now", `unexpected argument "now"`},
		{"failback|x", "no cluster x"},
		{"failback|c|d", `unexpected argument "d"`},
		{"status|a|b", `unexpected argument "b"`},
	} {
		code, out := a.RunCommand(strings.Split(strings.TrimSuffix(c.words, "|"), "|")...)
		require.Equal(t, 1, code, "%s: %s", c.words, out)
		require.Contains(t, out, c.says, c.words)
	}
}

func TestClientSessions(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	_, addr, a := weirtest.ServeAPI(t, weirtest.Config{Levels: weirtest.OneLevel(host.Addr() + " name=A")})
	c := nettest.Dial(t, addr)
	require.NoError(t, weirtest.PingPong(c))
	require.Contains(t, a.MustRunCommand("sessions"), c.LocalAddr().String())
	var list []map[string]any
	require.NoError(t, json.Unmarshal([]byte(a.MustRunCommand("sessions", "--json", "--server", "A")), &list))
	require.Len(t, list, 1)
	server, _, _ := net.SplitHostPort(host.Addr())
	for _, name := range []string{"A", host.Addr(), server} {
		require.Contains(t, a.MustRunCommand("sessions", "--server", name), c.LocalAddr().String(), "by name, address and host")
	}
	require.Contains(t, a.MustRunCommand("status", "c"), "PEAK")
	require.EqualValues(t, 1, a.Server("A")["sessions_peak"])
	for words, says := range map[string]string{
		"--server B --json":      "no server B",
		"--server B --cluster c": "cluster c has no server B",
		"--cluster d":            "no cluster d",
		"--listener ll":          "no listener ll",
	} {
		code, out := a.RunCommand(append([]string{"sessions"}, strings.Fields(words)...)...)
		require.Equal(t, 1, code, words)
		require.Contains(t, out, says, words)
	}
	require.Equal(t, "1 sessions cut\n", a.MustRunCommand("server", "c/A", "kill-sessions"))
	_, end := nettest.ReadToEnd(c, 20*time.Second)
	require.Equal(t, nettest.Reset, end)
}

// Tables are never cut for a program that reads them; every list has --json.
func TestClientTables(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("long-", 12)
	l := weirtest.Config{Levels: weirtest.OneLevel("127.0.0.1:1 name="+long+"a", "127.0.0.1:2 name="+long+"b state=drain"), More: weirtest.ListenerTables(long+"c", nettest.Reserve(t), "127.0.0.1:1")}
	_, _, a := weirtest.ServeAPI(t, l)
	because := strings.TrimSpace(strings.Repeat("because ", 20))
	a.MustRunCommand("server", "c/"+long+"a", "maint", "--reason", because)
	for _, args := range [][]string{{"status"}, {"status", "c"}, {"sessions"}, {"events"}, {"explain", "c/" + long + "a"}} {
		out := a.MustRunCommand(args...)
		require.NotContains(t, out, "…", "%v", args)
		if args[0] != "sessions" {
			require.Contains(t, out, long+"a", "%v", args)
			require.Contains(t, out, because, "%v", args)
		}
		for line := range strings.SplitSeq(strings.TrimSpace(a.MustRunCommand(append(args, "--json")...)), "\n") {
			if args[0] == "events" {
				require.True(t, json.Valid([]byte(line)), line)
			}
		}
	}
	require.True(t, json.Valid([]byte(a.MustRunCommand("status", "--json"))))
	code, out := weirtest.RunCommand(t, "--json", "--admin", "unix:"+a.Socket, "sessions") // in whatever order
	require.Zero(t, code, out)
	require.JSONEq(t, "[]", out)
}

func TestClientReloadAndPlan(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.SendText("A"))
	echoes := nettest.Reserve(t)
	l := weirtest.Config{
		Listen: nettest.Reserve(t), Levels: weirtest.OneLevel(host.Addr() + " name=A"),
		More: weirtest.ListenerTables("e", echoes, nettest.Start(t, nettest.Echo).Addr()),
	}
	w, _, a := weirtest.ServeAPI(t, l)
	require.Equal(t, "no changes\n", a.MustRunCommand("plan"))
	before := filepath.Join(t.TempDir(), "before.toml")
	require.NoError(t, os.WriteFile(before, []byte(a.AddTo(l.String())), 0o644))

	l.Levels = weirtest.OneLevel(host.Addr()+" name=A weight=2", host.Addr()+" name=B")
	w.WriteConfig(a.AddTo(l.String()))
	want := "change server c/A: weight 1 → 2\nadd server c/B: " + host.Addr() + ", level #1, weight 1\n"
	require.Equal(t, want, a.MustRunCommand("plan"))
	require.Equal(t, want, a.MustRunCommand("plan", "-c", w.File))
	code, out := weirtest.RunCommand(t, "plan", "--from", before, "-c", w.File)
	require.Zero(t, code)
	require.Equal(t, want, out)
	require.Equal(t, w.File+": reloaded\n", a.MustRunCommand("reload"))
	require.Equal(t, "no changes\n", a.MustRunCommand("plan"))

	l.Runtime = "loops = 7"
	w.WriteConfig(a.AddTo(l.String()))
	code, out = a.RunCommand("plan")
	require.Equal(t, 1, code)
	require.Contains(t, out, "refused")
	code, out = a.RunCommand("plan", "--json")
	require.Equal(t, 1, code)
	require.Contains(t, out, `"refused": true`)
	code, out = a.RunCommand("reload")
	require.Equal(t, 1, code)
	require.Contains(t, out, "loops")

	// The number of sessions that a step would cut, and files that are included relative to another one.
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "more"), 0o755))
	held := nettest.Dial(t, echoes)
	require.NoError(t, weirtest.PingPong(held))
	l.Runtime, l.More = "", ""
	main := filepath.Join(dir, "new.toml")
	require.NoError(t, os.WriteFile(main, []byte("include = [\"more/*\"]\n"+a.AddTo(l.String())), 0o644))
	extra := nettest.Reserve(t)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "more", "x.toml"), []byte(weirtest.ListenerTables("x", extra, host.Addr())), 0o644))
	out = a.MustRunCommand("plan", "-c", main)
	require.Contains(t, out, "add listener x (tcp "+extra+"): to cluster x\n")
	require.Contains(t, out, "remove listener e (tcp "+echoes+") (1 sessions would drain)\n")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "more", "x.toml"), []byte("nonsense\n"), 0o644))
	code, out = a.RunCommand("plan", "-c", main)
	require.Equal(t, 1, code)
	require.Contains(t, out, filepath.Join(dir, "more", "x.toml")+":1:")
	held.Close()

	w.WriteConfig("nonsense")
	for _, args := range [][]string{{"reload"}, {"plan"}, {"plan", "-c", w.File}} {
		code, out = a.RunCommand(args...)
		require.Equal(t, 1, code, args)
		require.Contains(t, out, w.File, args)
	}
	require.Contains(t, a.MustRunCommand("status"), "last reload failed")
}

func TestClientStop(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	w, addr, a := weirtest.ServeAPI(t, weirtest.Config{Levels: weirtest.OneLevel(host.Addr())})
	c := nettest.Dial(t, addr)
	require.NoError(t, weirtest.PingPong(c))
	drain := make(chan int, 1)
	go func() {
		code, _ := weirtest.RunCommand(t, "stop", "--admin", "unix:"+a.Socket) // waits for the session
		drain <- code
	}()
	nettest.Wait(t, 15*time.Second, "the drain", func() bool { return a.Get("stopping") == true })
	require.NoError(t, weirtest.PingPong(c))
	code, out := a.RunCommand("stop", "--now")
	require.Equal(t, 3, code, out)
	require.Equal(t, "stopped, 1 sessions cut\n", out)
	require.Equal(t, 3, <-drain)
	require.Equal(t, 3, w.WaitExit(15*time.Second))

	w, _, a = weirtest.ServeAPI(t, weirtest.Config{Levels: weirtest.OneLevel(host.Addr())})
	require.Equal(t, "stopped, 0 sessions cut\n", a.MustRunCommand("stop"))
	require.Equal(t, 0, w.WaitExit(15*time.Second))
	code, out = a.RunCommand("status")
	require.Equal(t, 2, code)
	require.Contains(t, out, a.Socket)
}

func TestClientEvents(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.SendText("A"))
	_, _, a := weirtest.ServeAPI(t, weirtest.Config{Levels: weirtest.OneLevel(host.Addr()+" name=A", "127.0.0.1:1 name=B")})
	a.MustRunCommand("server", "c/B", "maint")
	cmd := exec.Command(weirtest.Binary, "events", "-f", "--json")
	cmd.Env = append(os.Environ(), "WEIR_ADMIN=unix:"+a.Socket)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	defer func() {
		cmd.Process.Kill()
		cmd.Wait()
	}()
	lines := bufio.NewScanner(stdout)
	next := func() (ev map[string]any) {
		require.True(t, lines.Scan())
		require.NoError(t, json.Unmarshal(lines.Bytes(), &ev))
		return ev
	}
	require.Equal(t, "maint", next()["to"])
	a.MustRunCommand("server", "c/B", "reset")
	require.Equal(t, "up", next()["to"])
	out := a.MustRunCommand("events")
	require.Contains(t, out, "c/B  up → maint")
	require.Contains(t, out, "override")
}

func TestClientUsage(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{nil, 1, "Usage:"},
		{[]string{"help"}, 0, "Commands for a running weir"},
		{[]string{"status", "--help"}, 0, "--admin"},
		{[]string{"status", "--no-such"}, 1, "no-such"},
		{[]string{"status", "a", "b"}, 1, "arg"},
		{[]string{"status", "--admin", "unix:/no/such/socket"}, 2, "/no/such/socket"},
		{[]string{"status", "--admin", "127.0.0.1:1"}, 2, "127.0.0.1:1"},
		{[]string{"status", "--admin", "nonsense"}, 1, "nonsense"},
		{[]string{"status", "--token-file", "/no/such/file"}, 1, "/no/such/file"},
		{[]string{"plan", "--from", "x.toml"}, 1, "-c"},
		{[]string{"completion", "bash"}, 0, "weir"},
		{[]string{"completion", "zsh"}, 0, "weir"},
		{[]string{"completion", "fish"}, 0, "weir"},
		{[]string{"version"}, 0, "weir "},
		{[]string{"--version"}, 0, "weir "},
		{[]string{"run"}, 1, "-c FILE"},
		{[]string{"check", "-c"}, 1, "-c"},
	} {
		code, out := weirtest.RunCommand(t, c.args...)
		require.Equal(t, c.code, code, "%v: %s", c.args, out)
		require.Contains(t, out, c.says, "%v", c.args)
	}
}

func TestClientCompletion(t *testing.T) {
	t.Parallel()
	_, _, a := weirtest.ServeAPI(t, weirtest.Config{Levels: weirtest.OneLevel("127.0.0.1:1 name=A")})
	_, out := weirtest.RunCommand(t, "__complete", "explain", "--admin", "unix:"+a.Socket, "")
	require.Contains(t, out, "c/A\n")
	_, out = weirtest.RunCommand(t, "__complete", "status", "--admin", "unix:"+a.Socket, "")
	require.Contains(t, out, "c\n")
	_, out = weirtest.RunCommand(t, "__complete", "server", "--admin", "unix:"+a.Socket, "c/A", "")
	require.Contains(t, out, "drain\n")
}

// Shells complete the names of the running weir.
func TestCompletion(t *testing.T) {
	t.Parallel()
	l := weirtest.Config{Levels: [][]string{{"127.0.0.1:1 name=A", "127.0.0.1:2 name=B"}, {"127.0.0.1:1 name=A"}}, More: weirtest.ListenerTables("other", nettest.Reserve(t), "127.0.0.1:3")}
	_, _, a := weirtest.ServeAPI(t, l)
	for _, test := range []struct{ words, want string }{
		{"status|", "c other"},
		{"status|o", "other"},
		{"explain|c/", "c/A c/B"},
		{"server|other/", "other/127.0.0.1:3"},
		{"server|c/A|", "drain maint ready weight max_sessions reset kill-sessions add remove restore"},
		{"session|7|", "close"},
		{"failback|", "c other"},
		{"server|c/A|drain|", ""},
		{"sessions|--cluster|", "c other"},
		{"sessions|--listener|", "l other"},
		{"sessions|--cluster|c|--server|", "A B"},
	} {
		cmd := exec.Command(weirtest.Binary, append([]string{"__complete"}, strings.Split(test.words, "|")...)...)
		cmd.Env = append(os.Environ(), "WEIR_ADMIN=unix:"+a.Socket)
		out, err := cmd.Output()
		require.NoError(t, err)
		got := strings.Fields(string(out))
		require.Equal(t, test.want, strings.Join(got[:len(got)-1], " "), test.words)
		require.Equal(t, ":4", got[len(got)-1], "no file names")
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		code, out := weirtest.RunCommand(t, "completion", shell)
		require.Zero(t, code)
		require.Contains(t, out, "__complete")
	}
	code, out := weirtest.RunCommand(t, "__complete", "status", "--admin", "unix:"+a.Socket+".none", "")
	require.Zero(t, code, out)
}
