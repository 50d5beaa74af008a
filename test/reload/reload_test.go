package reload_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// A reload of an unchanged file touches no socket and no session.
func TestReloadOfUnchangedFile(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	l := weirtest.Config{Listen: nettest.Reserve(t), Levels: weirtest.OneLevel(host.Addr())}
	w := weirtest.Start(t, l.String())
	c := nettest.Dial(t, l.Listen)
	require.NoError(t, weirtest.PingPong(c))
	before := w.Process().Descriptors()
	for range 5 {
		w.Reload(l.String())
		after := w.Process().Descriptors()
		require.Empty(t, after.Since(before))
		require.Empty(t, before.Since(after))
	}
	require.NoError(t, weirtest.PingPong(c))
}

// A server that a reload adds gets its share, under load and without an error.
func TestReloadAddsServer(t *testing.T) {
	t.Parallel()
	a, b := nettest.Start(t, nettest.Echo), nettest.Start(t, nettest.Echo)
	l := weirtest.Config{Listen: nettest.Reserve(t), Levels: weirtest.OneLevel(a.Addr()), Checks: weirtest.PassingCheck}
	w := weirtest.Start(t, l.String())
	traffic := weirtest.StartLoad(t, l.Listen, 2, 10)
	l.Levels = weirtest.OneLevel(a.Addr(), b.Addr())
	w.Reload(l.String())
	beforeA, beforeB := a.Accepted(), b.Accepted()
	nettest.Wait(t, 20*time.Second, "sessions of two hundred clients", func() bool {
		return a.Accepted()-beforeA+b.Accepted()-beforeB >= 200
	})
	traffic.Stop()
	shareA, shareB := float64(a.Accepted()-beforeA), float64(b.Accepted()-beforeB)
	require.InEpsilon(t, shareA, shareB, 0.1)
}

// A removed server gets no new session; its sessions continue until drain_timeout and are then cut.
func TestReloadRemovesServer(t *testing.T) {
	t.Parallel()
	weirtest.WithTime(t, 3*time.Second, reloadRemovesServer)
}

func reloadRemovesServer(t *testing.T, drain time.Duration) (inTime bool) {
	a, b := nettest.Start(t, nettest.Greet("A", nettest.Echo)), nettest.Start(t, nettest.Greet("B", nettest.Echo))
	l := weirtest.Config{
		Listen: nettest.Reserve(t), Runtime: fmt.Sprintf("drain_timeout = %q", drain), Levels: weirtest.OneLevel(a.Addr(), b.Addr()),
	}
	w := weirtest.Start(t, l.String())
	onA := nettest.Dial(t, l.Listen)
	require.Equal(t, "A", weirtest.ReadByte(t, onA))
	onB := nettest.Dial(t, l.Listen)
	require.Equal(t, "B", weirtest.ReadByte(t, onB))

	l.Levels = weirtest.OneLevel(b.Addr())
	begin := time.Now()
	w.Reload(l.String())
	for range 20 {
		require.Equal(t, "B", weirtest.DialAndReadByte(t, l.Listen))
	}
	alive := weirtest.PingPong(onA)
	if time.Since(begin) >= drain {
		return false
	}
	require.NoError(t, alive)
	_, end := nettest.ReadToEnd(onA, 20*time.Second+drain)
	weirtest.RequireBetween(t, drain, time.Since(begin))
	require.Equal(t, nettest.Reset, end)
	require.NoError(t, weirtest.PingPong(onB), "sessions of servers that stay are left alone")
	return true
}

// New weights apply exactly, without a burst.
func TestReloadChangesWeights(t *testing.T) {
	t.Parallel()
	hosts := weirtest.StartLetters(t, "AB")
	l := weirtest.Config{Listen: nettest.Reserve(t), Levels: [][]string{weirtest.WeightedLevel(hosts, "A=1 B=1")}}
	w := weirtest.Start(t, l.String())
	require.Equal(t, "ABABAB", weirtest.ReadSessions(t, l.Listen, 6))
	l.Levels = [][]string{weirtest.WeightedLevel(hosts, "A=1 B=3")}
	w.Reload(l.String())
	require.Equal(t, strings.Repeat("BABB", 25), weirtest.ReadSessions(t, l.Listen, 100))
}

// A server with a new name is a new server: sessions of the old one may finish, new ones are served immediately.
func TestReloadRenamesServer(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	l := weirtest.Config{Listen: nettest.Reserve(t), Levels: weirtest.OneLevel(host.Addr() + " name=old")}
	w := weirtest.Start(t, l.String())
	c := nettest.Dial(t, l.Listen)
	require.NoError(t, weirtest.PingPong(c))
	l.Levels = weirtest.OneLevel(host.Addr() + " name=new")
	w.Reload(l.String())
	require.NoError(t, weirtest.PingPong(c))
	d := nettest.Dial(t, l.Listen)
	require.NoError(t, weirtest.PingPong(d))
	d.Close()
	require.Equal(t, "new", w.SessionRecord(d).Text("server"))
	c.Close()
	require.Equal(t, "old", w.SessionRecord(c).Text("server"))
}

// A server with a new address and the same name is dialed at the new address from now on.
func TestReloadChangesAddress(t *testing.T) {
	t.Parallel()
	a, b := nettest.Start(t, nettest.Greet("A", nettest.Echo)), nettest.Start(t, nettest.Greet("B", nettest.Echo))
	l := weirtest.Config{Listen: nettest.Reserve(t), Levels: weirtest.OneLevel(a.Addr() + " name=s")}
	w := weirtest.Start(t, l.String())
	c := nettest.Dial(t, l.Listen)
	require.Equal(t, "A", weirtest.ReadByte(t, c))
	l.Levels = weirtest.OneLevel(b.Addr() + " name=s")
	w.Reload(l.String())
	for range 10 {
		require.Equal(t, "B", weirtest.DialAndReadByte(t, l.Listen))
	}
	require.NoError(t, weirtest.PingPong(c))
}

// Listeners are added and removed by reloads; the sessions of a removed one have drain_timeout to finish.
func TestReloadAddsAndRemovesListeners(t *testing.T) {
	t.Parallel()
	weirtest.WithTime(t, 1500*time.Millisecond, reloadRemovesListener)
}

func reloadRemovesListener(t *testing.T, drain time.Duration) (inTime bool) {
	host := nettest.Start(t, nettest.Echo)
	second, third := nettest.Reserve(t), nettest.Reserve(t)
	l := weirtest.Config{
		Listen: nettest.Reserve(t), Runtime: fmt.Sprintf("drain_timeout = %q", drain), Levels: weirtest.OneLevel(host.Addr()),
		More: weirtest.ListenerTables("second", second, host.Addr()),
	}
	w := weirtest.Start(t, l.String())
	stays, goes := nettest.Dial(t, l.Listen), nettest.Dial(t, second)
	require.NoError(t, weirtest.PingPong(stays))
	require.NoError(t, weirtest.PingPong(goes))

	l.More = weirtest.ListenerTables("third", third, host.Addr())
	begin := time.Now()
	w.Reload(l.String())
	text, _ := weirtest.EchoOnce(t, third)
	require.Equal(t, "hello", text)
	_, err := nettest.TryDial(second)
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	alive := weirtest.PingPong(goes)
	if time.Since(begin) >= drain {
		return false
	}
	require.NoError(t, alive)
	_, end := nettest.ReadToEnd(goes, 20*time.Second+drain)
	weirtest.RequireBetween(t, drain, time.Since(begin))
	require.Equal(t, nettest.Reset, end)
	require.NoError(t, weirtest.PingPong(stays))
	return true
}

// A listener that moves accepts at its new address before it closes the old one.
func TestReloadMovesListener(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	from, to := nettest.Reserve(t), nettest.Reserve(t)
	l := weirtest.Config{Listen: from, Levels: weirtest.OneLevel(host.Addr())}
	w := weirtest.Start(t, l.String())
	c := nettest.Dial(t, from)
	require.NoError(t, weirtest.PingPong(c))
	for range 10 {
		stop := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				// In this order: a client that finds the old address closed must find the new one open.
				open, err := nettest.TryDial(from)
				if err != nil {
					open, err = nettest.TryDial(to)
				}
				if err != nil {
					t.Errorf("neither address answers: %v", err)
					return
				}
				open.Close()
			}
		})
		l.Listen = to
		w.Reload(l.String())
		close(stop)
		wg.Wait()
		text, _ := weirtest.EchoOnce(t, to)
		require.Equal(t, "hello", text)
		_, err := nettest.TryDial(from)
		require.ErrorIs(t, err, syscall.ECONNREFUSED)
		require.NoError(t, weirtest.PingPong(c))
		from, to = to, from
	}
}

// An address in use by another process makes the whole reload fail: nothing else of it is applied.
func TestReloadWithAddressInUse(t *testing.T) {
	t.Parallel()
	hosts := weirtest.StartLetters(t, "AB")
	taken := nettest.Start(t, nettest.SendText("other"))
	l := weirtest.Config{Listen: nettest.Reserve(t), Levels: [][]string{weirtest.WeightedLevel(hosts, "A")}}
	w := weirtest.Start(t, l.String())
	bad := l
	bad.Levels = [][]string{weirtest.WeightedLevel(hosts, "B")}
	free := nettest.Reserve(t)
	bad.More = weirtest.ListenerTables("free", free, hosts["A"].Addr()) + weirtest.ListenerTables("taken", taken.Addr(), hosts["A"].Addr())
	r := w.FailReload(bad.String())
	require.Contains(t, fmt.Sprint(r), taken.Addr())
	require.Equal(t, "AAAA", weirtest.ReadSessions(t, l.Listen, 4))
	_, err := nettest.TryDial(free)
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	l.Levels = [][]string{weirtest.WeightedLevel(hosts, "B")}
	w.Reload(l.String())
	require.Equal(t, "BBBB", weirtest.ReadSessions(t, l.Listen, 4), "the next good file is applied")
}

// Whatever replaces the file, the running configuration keeps serving.
func TestReloadOfBadFiles(t *testing.T) {
	t.Parallel()
	hosts := weirtest.StartLetters(t, "AB")
	l := weirtest.Config{Listen: nettest.Reserve(t), Levels: [][]string{weirtest.WeightedLevel(hosts, "A")}}
	w := weirtest.Start(t, l.String())
	good := l.String()
	other := l
	other.Levels = [][]string{weirtest.WeightedLevel(hosts, "B")}
	changed := other.String()
	for name, config := range map[string]string{
		"broken TOML":        changed + "[[listener\n",
		"unknown key":        strings.Replace(changed, "cluster = \"c\"\n", "cluster = \"c\"\ncluter = \"c\"\n", 1),
		"unknown cluster":    strings.Replace(changed, "cluster = \"c\"\n", "cluster = \"nowhere\"\n", 1),
		"bad duration":       strings.Replace(changed, "[cluster.c]\n", "[cluster.c]\nconnect_timeout = \"5\"\n", 1),
		"bad address":        strings.Replace(changed, hosts["B"].Addr(), "127.0.0.1:99999", 1),
		"no listener":        "[cluster.c]\n[[cluster.c.level]]\nservers = [\"127.0.0.1:1\"]\n",
		"empty":              "",
		"only comments":      "# nothing\n",
		"binary":             strings.Repeat("\x00\xff\xfe", 1000),
		"deeply nested":      strings.Repeat("[", 100_000),
		"what cannot change": strings.Replace(changed, "[runtime]\n", "[runtime]\nloops = 7\n", 1),
	} {
		t.Run(name, func(t *testing.T) {
			r := w.FailReload(config)
			require.Equal(t, "ERROR", r.Text("level"))
			require.Equal(t, "AA", weirtest.ReadSessions(t, l.Listen, 2))
		})
	}
	t.Run("missing", func(t *testing.T) {
		require.NoError(t, os.Remove(w.File))
		w.SignalReload("reload_failed")
		require.Equal(t, "AA", weirtest.ReadSessions(t, l.Listen, 2))
	})
	t.Run("a directory", func(t *testing.T) {
		require.NoError(t, os.Mkdir(w.File, 0o755))
		w.SignalReload("reload_failed")
		require.Equal(t, "AA", weirtest.ReadSessions(t, l.Listen, 2))
		require.NoError(t, os.Remove(w.File))
	})
	w.Reload(good)
	w.Reload(changed)
	require.Equal(t, "BB", weirtest.ReadSessions(t, l.Listen, 2))
}

// An error in a file names its position.
func TestBadReloadNamesThePlace(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	l := weirtest.Config{Listen: nettest.Reserve(t), Levels: weirtest.OneLevel(host.Addr())}
	w := weirtest.Start(t, l.String())
	bad := l.String() + "\n[cluster.d]\nbalanse = \"rr\"\n"
	line := strings.Count(bad[:strings.Index(bad, "balanse")], "\n") + 1
	r := w.FailReload(bad)
	require.Contains(t, fmt.Sprint(r), fmt.Sprintf("weir.toml:%d:", line))
	require.Contains(t, fmt.Sprint(r), "balance", "the nearest legal name")
}

// Files that are not regular or never end are rejected immediately, and do not block weir.
func TestReloadWithUnreadableFiles(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.SendText("ok"))
	l := weirtest.Config{Listen: nettest.Reserve(t), Levels: weirtest.OneLevel(host.Addr())}
	w := weirtest.Start(t, l.String())
	pipe := filepath.Join(t.TempDir(), "pipe")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	for _, path := range []string{pipe, "/dev/zero"} {
		why := path + ": not a regular file"
		with := l
		with.Checks = fmt.Sprintf("[[cluster.c.check]]\ntype = \"redis\"\npassword_file = %q", path)
		require.Contains(t, w.FailReload(with.String()).Text("error"), "password_file: open "+why)
		with.Checks = fmt.Sprintf("[[cluster.c.check]]\ntype = \"tcp\"\ntls = true\ntls_ca_file = %q", path)
		require.Contains(t, w.FailReload(with.String()).Text("error"), "tls_ca_file: open "+why)
		with.Checks = fmt.Sprintf("[admin]\nlisten = %q\ntoken_file = %q", nettest.Reserve(t), path)
		require.Contains(t, w.FailReload(strings.Replace(with.String(), "[admin]\nlisten = \"\"\n", "", 1)).Text("error"), "admin.token_file: open "+why)
	}
	require.NoError(t, os.Remove(w.File))
	require.NoError(t, os.Rename(pipe, w.File))
	require.Contains(t, w.SignalReload("reload_failed").Text("error"), "weir.toml: not a regular file")
	text, _ := weirtest.ReadSession(l.Listen)
	require.Equal(t, "ok", text)
	w.Signal(syscall.SIGTERM)
	require.Equal(t, 0, w.WaitExit(15*time.Second))
}

// Rapid reloads end with the last file in force, and with no more memory, descriptors or threads than before.
func TestRapidReloads(t *testing.T) {
	a, b := nettest.Start(t, nettest.Echo), nettest.Start(t, nettest.Echo)
	second := nettest.Reserve(t)
	l := weirtest.Config{Listen: nettest.Reserve(t), Levels: weirtest.OneLevel(a.Addr())}
	one := l.String()
	l.Levels = weirtest.OneLevel(b.Addr(), a.Addr()+" weight=3")
	l.More = weirtest.ListenerTables("second", second, b.Addr())
	two := l.String()
	w := weirtest.Start(t, one)
	for range 3 {
		w.Reload(two)
		w.Reload(one)
	}
	w.WaitDescriptors()
	threads, memory := w.Process().Threads(t), w.Process().RSS(t)
	traffic := weirtest.StartLoad(t, l.Listen, 2, 20)
	begin := time.Now()
	for i := range 100 {
		w.WriteConfig([]string{two, one}[i%2])
		w.Signal(syscall.SIGHUP)
		time.Sleep(time.Until(begin.Add(time.Duration(i+1) * 10 * time.Millisecond)))
	}
	nettest.Wait(t, 20*time.Second, "the last file to be in force", func() bool {
		c, err := nettest.TryDial(second)
		if err == nil {
			c.Close()
		}
		return errors.Is(err, syscall.ECONNREFUSED)
	})
	nettest.Wait(t, 20*time.Second, "40 sessions of the last file's servers alone", func() bool { // of the file before, 10 would be b's
		before := b.Accepted()
		traffic.WaitShort(40)
		return b.Accepted() == before
	})
	traffic.Stop()
	for _, r := range w.Records(func(r weirtest.Record) bool { return r.IsEvent("reload_failed") }) {
		require.Contains(t, fmt.Sprint(r), "changed while being read", "the only reason there may be")
	}
	w.WaitDescriptors()
	require.LessOrEqual(t, w.Process().Threads(t), threads+5)
	weirtest.RequireGrowth(t, w, memory, memory/10+weirtest.FixedMemory)
}

// Many reloads with changes under load: servers added, removed, re-weighted and moved between levels, listeners added
// and removed. No connection fails and no session breaks.
func TestReloadsUnderLoad(t *testing.T) {
	hosts := make([]*nettest.Host, 4)
	for i := range hosts {
		hosts[i] = nettest.Start(t, nettest.Echo)
	}
	extra := []string{nettest.Reserve(t), nettest.Reserve(t)}
	base := weirtest.Config{Listen: nettest.Reserve(t), Runtime: `drain_timeout = "10m"`, Levels: weirtest.OneLevel(hosts[0].Addr())}
	// Only sessions that fail leave a record: one for each would be more than the test can read at a larger scale.
	text := func(l weirtest.Config) string {
		return strings.Replace(l.String(), `sessions = "all"`, `sessions = "errors"`, 1)
	}
	w := weirtest.Start(t, text(base))
	random := rand.New(rand.NewPCG(1, 2))
	change := func() weirtest.Config {
		l := base
		l.Levels = [][]string{{}, {}}
		for _, h := range hosts {
			if at := random.IntN(3); at < 2 {
				l.Levels[at] = append(l.Levels[at], fmt.Sprintf("%s weight=%d", h.Addr(), 1+random.IntN(5)))
			}
		}
		if len(l.Levels[0])+len(l.Levels[1]) == 0 {
			l.Levels[0] = append(l.Levels[0], hosts[0].Addr())
		}
		for i, addr := range extra {
			if random.IntN(2) == 0 {
				l.More += weirtest.ListenerTables(fmt.Sprintf("extra%d", i), addr, hosts[random.IntN(len(hosts))].Addr())
			}
		}
		return l
	}
	for range 5 {
		w.Reload(text(change()))
	}
	w.Reload(text(base))
	w.WaitDescriptors()
	threads, memory := w.Process().Threads(t), w.Process().RSS(t)
	traffic := weirtest.StartLoad(t, base.Listen, 4, 50)
	for range weirtest.Scaled(200) {
		w.Reload(text(change()))
	}
	w.Reload(text(base))
	traffic.Stop()
	t.Logf("%d short sessions", traffic.Short.Load())
	w.WaitDescriptors()
	require.LessOrEqual(t, w.Process().Threads(t), threads+5)
	weirtest.RequireGrowth(t, w, memory, memory/5+weirtest.FixedMemory)
	require.Empty(t, w.Warnings())
	require.Empty(t, w.Records(func(r weirtest.Record) bool { return r.Termination() != "" }))
}

// A large configuration is applied immediately, without an effect on new or existing sessions.
func TestReloadAtScale(t *testing.T) {
	host := nettest.Start(t, nettest.Echo)
	const clusters = 20
	perCluster, listeners, live := 50, 200, weirtest.Scaled(2000)
	if weirtest.RaceEnabled {
		live = weirtest.Scaled(300)
	}
	addrs := make([]string, listeners)
	for i := range addrs {
		addrs[i] = nettest.Reserve(t)
	}
	config := func(turn int) string {
		var b strings.Builder
		b.WriteString("[admin]\nlisten = \"\"\n[log]\nformat = \"json\"\n[runtime]\ndrain_timeout = \"10m\"\n")
		for i, addr := range addrs {
			fmt.Fprintf(&b, "[[listener]]\nname = \"l%d\"\naddress = %q\ncluster = \"c%d\"\n", i, addr, i%clusters)
		}
		for c := range clusters {
			fmt.Fprintf(&b, "[cluster.c%d]\n[[cluster.c%[1]d.level]]\nservers = [", c)
			for s := range perCluster {
				if s != turn%perCluster { // remove one, add another, and change all weights
					fmt.Fprintf(&b, "\"%s name=s%d weight=%d\",", host.Addr(), s, 1+(s+turn)%9)
				}
			}
			fmt.Fprintf(&b, "]\n[[cluster.c%d.check]]\ntype = \"tcp\"\ninterval = \"1m\"\n", c)
		}
		return b.String()
	}
	w := weirtest.Start(t, config(0))
	conns := make([]*net.TCPConn, live)
	for i := range conns {
		conns[i] = nettest.Dial(t, addrs[i%listeners])
		require.NoError(t, weirtest.PingPong(conns[i]))
	}
	traffic := weirtest.StartLoad(t, addrs[0], 2, 0)
	var took []time.Duration
	for turn := range 8 {
		w.WriteConfig(config(turn + 1))
		r := w.SignalReload("reload")
		ms, _ := r["took_ms"].(float64)
		took = append(took, time.Duration(ms*float64(time.Millisecond)))
	}
	traffic.Stop()
	for _, c := range conns {
		require.NoError(t, weirtest.PingPong(c))
		c.Close()
	}
	t.Logf("%d sessions, reloads took %v", live, took)
	if !weirtest.RaceEnabled {
		require.Less(t, slices.Min(took), weirtest.Bound(100*time.Millisecond))
	}
}

// A reload keeps the verdict of a server that is down.
func TestReloadKeepsVerdicts(t *testing.T) {
	t.Parallel()
	hosts := weirtest.StartLetters(t, "AB")
	// The check of this server fails, but it would serve: any session it gets is visible.
	_, port, _ := strings.Cut(nettest.Reserve(t), ":")
	check := "[[cluster.c.check]]\ntype = \"tcp\"\ninterval = \"200ms\"\ntimeout = \"100ms\"\nfall = 3\nservers = [\"A\"]\nport = " +
		port + "\n"
	l := weirtest.Config{Listen: nettest.Reserve(t), Checks: check, Levels: [][]string{weirtest.WeightedLevel(hosts, "A B")}}
	w := weirtest.Start(t, l.String())
	w.WaitEvent("server_down", "A")
	before := hosts["A"].Accepted()
	for i := range 10 {
		l.Levels = [][]string{weirtest.WeightedLevel(hosts, fmt.Sprintf("A=%d B=1", i+2))}
		w.Reload(l.String())
		require.Equal(t, "BBBBB", weirtest.ReadSessions(t, l.Listen, 5))
	}
	require.Equal(t, before, hosts["A"].Accepted())
	require.Len(t, w.Records(func(r weirtest.Record) bool { return r.IsEvent("server_down") && r.Text("server") == "A" }), 1, "told once")
}

// Connections in the accept queue during a reload are served, whatever it changes.
func TestReloadKeepsAcceptQueue(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.SendText("ok"))
	l := weirtest.Config{Listen: nettest.Reserve(t), Levels: weirtest.OneLevel(host.Addr())}
	base := l.String()
	w := weirtest.Start(t, base)
	for i := range 3 {
		w.Signal(syscall.SIGSTOP)
		clients := make([]*net.TCPConn, weirtest.Scaled(200))
		for i := range clients {
			clients[i] = nettest.Dial(t, l.Listen)
		}
		l.Listener = fmt.Sprintf("client_idle_timeout = \"%ds\"", 100+i)
		l.More = weirtest.ListenerTables("extra", nettest.Reserve(t), host.Addr())
		w.WriteConfig(l.String())
		w.Signal(syscall.SIGHUP)
		w.Signal(syscall.SIGCONT)
		for _, c := range clients {
			data, end := nettest.ReadToEnd(c, 20*time.Second)
			require.Equal(t, "ok", string(data))
			require.Equal(t, nettest.EOF, end)
			c.Close()
		}
		nettest.Wait(t, 15*time.Second, "the reload", func() bool {
			return len(w.Records(func(r weirtest.Record) bool { return r.IsEvent("reload") })) == i+1
		})
	}
	w.Reload(base)
}

// A server that moves to another level keeps its sessions and its state; its priority changes immediately.
func TestReloadMovesServerBetweenLevels(t *testing.T) {
	t.Parallel()
	a, b := nettest.Start(t, nettest.Greet("A", nettest.Echo)), nettest.Start(t, nettest.Greet("B", nettest.Echo))
	l := weirtest.Config{Listen: nettest.Reserve(t), Runtime: `drain_timeout = "300ms"`, Levels: [][]string{{a.Addr()}, {b.Addr()}}}
	w := weirtest.Start(t, l.String())
	c := nettest.Dial(t, l.Listen)
	require.Equal(t, "A", weirtest.ReadByte(t, c))
	l.Levels = [][]string{{b.Addr()}, {a.Addr()}}
	w.Reload(l.String())
	for range 5 {
		require.Equal(t, "B", weirtest.DialAndReadByte(t, l.Listen))
	}
	time.Sleep(1200 * time.Millisecond)
	require.NoError(t, weirtest.PingPong(c), "the session of a server that only moved is not drained")
}

// Timeouts that a reload changes apply to new sessions.
func TestReloadChangesTimeouts(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	l := weirtest.Config{Listen: nettest.Reserve(t), Listener: `client_idle_timeout = "1m"`, Levels: weirtest.OneLevel(host.Addr())}
	w := weirtest.Start(t, l.String())
	old := nettest.Dial(t, l.Listen)
	require.NoError(t, weirtest.PingPong(old))
	l.Listener = `client_idle_timeout = "500ms"`
	w.Reload(l.String())
	begin := time.Now()
	_, end := weirtest.ReadSession(l.Listen)
	require.NotEqual(t, nettest.Timeout, end)
	weirtest.RequireBetween(t, 500*time.Millisecond, time.Since(begin))
}

// Reload requests during a reload coalesce: the last file is applied.
func TestReloadsCoalesce(t *testing.T) {
	t.Parallel()
	hosts := weirtest.StartLetters(t, "AB")
	l := weirtest.Config{Listen: nettest.Reserve(t), Levels: [][]string{weirtest.WeightedLevel(hosts, "A")}}
	w := weirtest.Start(t, l.String())
	l.Levels = [][]string{weirtest.WeightedLevel(hosts, "B")}
	w.WriteConfig(l.String())
	for range 50 {
		w.Signal(syscall.SIGHUP)
	}
	nettest.Wait(t, 15*time.Second, "the new file", func() bool { return weirtest.ReadSessions(t, l.Listen, 1) == "B" })
	require.LessOrEqual(t, len(w.Records(func(r weirtest.Record) bool { return r.IsEvent("reload") })), 50)
}

// A log file that cannot be opened makes the whole reload fail: nothing of it is applied, and the log stays where it
// was.
func TestReloadWithUnusableLogFile(t *testing.T) {
	t.Parallel()
	hosts := weirtest.StartLetters(t, "AB")
	l := weirtest.Config{Listen: nettest.Reserve(t), Levels: weirtest.OneLevel(hosts["A"].Addr())}
	w := weirtest.Start(t, l.String())
	l.Levels = weirtest.OneLevel(hosts["B"].Addr())
	config := func(path string) string {
		return strings.Replace(l.String(), "[log]\n", fmt.Sprintf("[log]\nfile = %q\n", path), 1)
	}
	pipe := filepath.Join(t.TempDir(), "pipe")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	for _, path := range []string{"/nowhere/weir.log", t.TempDir(), pipe} { // the pipe has no reader
		require.Regexp(t, `weir.toml:\d+:8: log.file: open `+path, w.FailReload(config(path)).Text("error"))
	}
	require.Equal(t, "AA", weirtest.ReadSessions(t, l.Listen, 2), "the servers of before")
	w.WaitDescriptors()
	file := filepath.Join(t.TempDir(), "weir.log")
	w.WriteConfig(config(file))
	w.Signal(syscall.SIGHUP)
	nettest.Wait(t, 15*time.Second, "the reload in the new file", func() bool { return strings.Contains(weirtest.ReadFile(t, file), `"event":"reload"`) })
	require.Equal(t, "BB", weirtest.ReadSessions(t, l.Listen, 2))
	w.Reload(l.String())
}
