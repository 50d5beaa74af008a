package main_test

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
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
)

// load keeps an address busy until it is stopped: short sessions one after the other, and long ones that say something
// now and then. Not one of them may fail.
type load struct {
	t      *testing.T
	stop   chan struct{}
	wg     sync.WaitGroup
	short  atomic.Int64
	failed atomic.Int64
	mu     sync.Mutex
	errs   []error
	long   []*net.TCPConn
}

// startLoad begins with the long sessions in place. The servers echo.
func startLoad(t *testing.T, addr string, workers, long int) *load {
	t.Helper()
	l := &load{t: t, stop: make(chan struct{})}
	for range long {
		c := nettest.Dial(t, addr)
		require.NoError(t, pingpong(c))
		l.long = append(l.long, c)
	}
	for range workers {
		l.wg.Go(func() {
			for seed := rand.Uint64(); !l.stopped(); seed++ {
				c, err := nettest.TryDial(addr)
				if err == nil {
					err = nettest.Exchange(c, seed, 100, 100)
				}
				l.short.Add(1)
				l.check("short session", err)
			}
		})
	}
	if long > 0 {
		l.wg.Go(func() {
			for i := 0; !l.stopped(); i++ {
				l.check("long session", pingpong(l.long[i%long]))
				if i%long == 0 {
					time.Sleep(10 * time.Millisecond)
				}
			}
		})
	}
	return l
}

func (l *load) stopped() bool {
	select {
	case <-l.stop:
		return true
	default:
		return false
	}
}

func (l *load) check(what string, err error) {
	if err == nil {
		return
	}
	l.failed.Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.errs) < 5 {
		l.errs = append(l.errs, fmt.Errorf("%s: %w", what, err))
	}
}

// end stops the load, checks that nothing failed, that the long sessions still work, and closes them.
func (l *load) end() {
	l.t.Helper()
	close(l.stop)
	l.wg.Wait()
	for _, c := range l.long {
		l.check("long session at the end", pingpong(c))
		c.Close()
	}
	require.Zero(l.t, l.failed.Load(), "of %d: %v", l.short.Load(), errors.Join(l.errs...))
}

// A reload of an unchanged file touches no socket and no session.
func TestReloadOfUnchangedFile(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	l := layout{listen: nettest.Reserve(t), levels: servers(host.Addr())}
	w := start(t, l.String())
	c := nettest.Dial(t, l.listen)
	require.NoError(t, pingpong(c))
	before := w.proc().Descriptors()
	for range 5 {
		w.reload(l.String())
		after := w.proc().Descriptors()
		require.Empty(t, after.Since(before))
		require.Empty(t, before.Since(after))
	}
	require.NoError(t, pingpong(c))
}

// A server that the file adds gets its share, under load and without an error.
func TestReloadAddsServer(t *testing.T) {
	t.Parallel()
	a, b := nettest.Start(t, nettest.Echo), nettest.Start(t, nettest.Echo)
	l := layout{listen: nettest.Reserve(t), levels: servers(a.Addr()), checks: passing}
	w := start(t, l.String())
	traffic := startLoad(t, l.listen, 2, 10)
	l.levels = servers(a.Addr(), b.Addr())
	w.reload(l.String())
	beforeA, beforeB := a.Accepted(), b.Accepted()
	nettest.Wait(t, 20*time.Second, "sessions of two hundred clients", func() bool {
		return a.Accepted()-beforeA+b.Accepted()-beforeB >= 200
	})
	traffic.end()
	shareA, shareB := float64(a.Accepted()-beforeA), float64(b.Accepted()-beforeB)
	require.InEpsilon(t, shareA, shareB, 0.1)
}

// A server that the file removes gets no new session; those it has go on until drain_timeout and are then cut.
func TestReloadRemovesServer(t *testing.T) {
	t.Parallel()
	a, b := nettest.Start(t, nettest.Greet("A", nettest.Echo)), nettest.Start(t, nettest.Greet("B", nettest.Echo))
	l := layout{
		listen: nettest.Reserve(t), runtime: `drain_timeout = "3s"`, levels: servers(a.Addr(), b.Addr()),
	}
	w := start(t, l.String())
	onA := nettest.Dial(t, l.listen)
	require.Equal(t, "A", first(t, onA))
	onB := nettest.Dial(t, l.listen)
	require.Equal(t, "B", first(t, onB))

	l.levels = servers(b.Addr())
	begin := time.Now()
	w.reload(l.String())
	for range 20 {
		require.Equal(t, "B", greeting(t, l.listen))
	}
	require.NoError(t, pingpong(onA))
	_, end := nettest.ReadToEnd(onA, 10*time.Second)
	require.Equal(t, nettest.Reset, end)
	between(t, 3*time.Second, time.Since(begin))
	require.NoError(t, pingpong(onB), "sessions of servers that stay are left alone")
}

// New weights apply exactly, without a burst to anyone.
func TestReloadChangesWeights(t *testing.T) {
	t.Parallel()
	hosts := letters(t, "AB")
	l := layout{listen: nettest.Reserve(t), levels: [][]string{weighted(hosts, "A=1 B=1")}}
	w := start(t, l.String())
	require.Equal(t, "ABABAB", sequence(t, l.listen, 6))
	l.levels = [][]string{weighted(hosts, "A=1 B=3")}
	w.reload(l.String())
	require.Equal(t, strings.Repeat("BABB", 25), sequence(t, l.listen, 100))
}

// A server under a new name is a new one: the old one's session may finish, new ones are served at once.
func TestReloadRenamesServer(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	l := layout{listen: nettest.Reserve(t), levels: servers(host.Addr() + " name=old")}
	w := start(t, l.String())
	c := nettest.Dial(t, l.listen)
	require.NoError(t, pingpong(c))
	l.levels = servers(host.Addr() + " name=new")
	w.reload(l.String())
	require.NoError(t, pingpong(c))
	d := nettest.Dial(t, l.listen)
	require.NoError(t, pingpong(d))
	d.Close()
	require.Equal(t, "new", w.session(d).str("server"))
	c.Close()
	require.Equal(t, "old", w.session(c).str("server"))
}

// A server with a new address under its old name is dialled there from now on.
func TestReloadChangesAddress(t *testing.T) {
	t.Parallel()
	a, b := nettest.Start(t, nettest.Greet("A", nettest.Echo)), nettest.Start(t, nettest.Greet("B", nettest.Echo))
	l := layout{listen: nettest.Reserve(t), levels: servers(a.Addr() + " name=s")}
	w := start(t, l.String())
	c := nettest.Dial(t, l.listen)
	require.Equal(t, "A", first(t, c))
	l.levels = servers(b.Addr() + " name=s")
	w.reload(l.String())
	for range 10 {
		require.Equal(t, "B", greeting(t, l.listen))
	}
	require.NoError(t, pingpong(c))
}

// Listeners come and go with the file; the sessions of one that went have drain_timeout to finish.
func TestReloadAddsAndRemovesListeners(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	second, third := nettest.Reserve(t), nettest.Reserve(t)
	l := layout{
		listen: nettest.Reserve(t), runtime: `drain_timeout = "1500ms"`, levels: servers(host.Addr()),
		more: pair("second", second, host.Addr()),
	}
	w := start(t, l.String())
	stays, goes := nettest.Dial(t, l.listen), nettest.Dial(t, second)
	require.NoError(t, pingpong(stays))
	require.NoError(t, pingpong(goes))

	l.more = pair("third", third, host.Addr())
	begin := time.Now()
	w.reload(l.String())
	text, _ := echoOnce(t, third)
	require.Equal(t, "hello", text)
	_, err := nettest.TryDial(second)
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	require.NoError(t, pingpong(goes))
	_, end := nettest.ReadToEnd(goes, 5*time.Second)
	require.Equal(t, nettest.Reset, end)
	between(t, 1500*time.Millisecond, time.Since(begin))
	require.NoError(t, pingpong(stays))
}

// A listener that moves answers at its new address before it stops at the old one.
func TestReloadMovesListener(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	from, to := nettest.Reserve(t), nettest.Reserve(t)
	l := layout{listen: from, levels: servers(host.Addr())}
	w := start(t, l.String())
	c := nettest.Dial(t, from)
	require.NoError(t, pingpong(c))
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
				// In this order: whoever finds the old address closed must find the new one open.
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
		l.listen = to
		w.reload(l.String())
		close(stop)
		wg.Wait()
		text, _ := echoOnce(t, to)
		require.Equal(t, "hello", text)
		_, err := nettest.TryDial(from)
		require.ErrorIs(t, err, syscall.ECONNREFUSED)
		require.NoError(t, pingpong(c))
		from, to = to, from
	}
}

// An address that is taken by somebody else makes the whole reload fail: nothing else of it is applied.
func TestReloadWithTakenAddress(t *testing.T) {
	t.Parallel()
	hosts := letters(t, "AB")
	taken := nettest.Start(t, nettest.SendText("somebody else"))
	l := layout{listen: nettest.Reserve(t), levels: [][]string{weighted(hosts, "A")}}
	w := start(t, l.String())
	bad := l
	bad.levels = [][]string{weighted(hosts, "B")}
	free := nettest.Reserve(t)
	bad.more = pair("free", free, hosts["A"].Addr()) + pair("taken", taken.Addr(), hosts["A"].Addr())
	r := w.reloadFails(bad.String())
	require.Contains(t, fmt.Sprint(r), taken.Addr())
	require.Equal(t, "AAAA", sequence(t, l.listen, 4))
	_, err := nettest.TryDial(free)
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	l.levels = [][]string{weighted(hosts, "B")}
	w.reload(l.String())
	require.Equal(t, "BBBB", sequence(t, l.listen, 4), "the next good file is applied")
}

// Whatever is put in the file's place, the running configuration keeps serving.
func TestReloadOfBadFiles(t *testing.T) {
	t.Parallel()
	hosts := letters(t, "AB")
	l := layout{listen: nettest.Reserve(t), levels: [][]string{weighted(hosts, "A")}}
	w := start(t, l.String())
	good := l.String()
	other := l
	other.levels = [][]string{weighted(hosts, "B")}
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
			r := w.reloadFails(config)
			require.Equal(t, "ERROR", r.str("level"))
			require.Equal(t, "AA", sequence(t, l.listen, 2))
		})
	}
	t.Run("missing", func(t *testing.T) {
		require.NoError(t, os.Remove(w.file))
		w.hup("reload_failed")
		require.Equal(t, "AA", sequence(t, l.listen, 2))
	})
	t.Run("a directory", func(t *testing.T) {
		require.NoError(t, os.Mkdir(w.file, 0o755))
		w.hup("reload_failed")
		require.Equal(t, "AA", sequence(t, l.listen, 2))
		require.NoError(t, os.Remove(w.file))
	})
	w.reload(good)
	w.reload(changed)
	require.Equal(t, "BB", sequence(t, l.listen, 2))
}

// A message about a bad file names the place in it.
func TestBadReloadNamesThePlace(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	l := layout{listen: nettest.Reserve(t), levels: servers(host.Addr())}
	w := start(t, l.String())
	bad := l.String() + "\n[cluster.d]\nbalanse = \"rr\"\n"
	line := strings.Count(bad[:strings.Index(bad, "balanse")], "\n") + 1
	r := w.reloadFails(bad)
	require.Contains(t, fmt.Sprint(r), fmt.Sprintf("weir.toml:%d:", line))
	require.Contains(t, fmt.Sprint(r), "balance", "the nearest legal name")
}

// Files that say nothing, or never end, are refused at once: nothing waits for them while weir serves.
func TestReloadWithFilesThatAreNone(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.SendText("ok"))
	l := layout{listen: nettest.Reserve(t), levels: servers(host.Addr())}
	w := start(t, l.String())
	pipe := filepath.Join(t.TempDir(), "pipe")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	for _, path := range []string{pipe, "/dev/zero"} {
		why := path + ": not a regular file"
		with := l
		with.checks = fmt.Sprintf("[[cluster.c.check]]\ntype = \"redis\"\npassword_file = %q", path)
		require.Contains(t, w.reloadFails(with.String()).str("error"), "password_file: open "+why)
		with.checks = fmt.Sprintf("[[cluster.c.check]]\ntype = \"tcp\"\ntls = true\ntls_ca_file = %q", path)
		require.Contains(t, w.reloadFails(with.String()).str("error"), "tls_ca_file: open "+why)
		with.checks = fmt.Sprintf("[admin]\nlisten = %q\ntoken_file = %q", nettest.Reserve(t), path)
		require.Contains(t, w.reloadFails(strings.Replace(with.String(), "[admin]\nlisten = \"\"\n", "", 1)).str("error"), "admin.token_file: open "+why)
	}
	require.NoError(t, os.Remove(w.file))
	require.NoError(t, os.Rename(pipe, w.file))
	require.Contains(t, w.hup("reload_failed").str("error"), "weir.toml: not a regular file")
	text, _ := ask(l.listen)
	require.Equal(t, "ok", text)
	w.signal(syscall.SIGTERM)
	require.Equal(t, 0, w.exit(5*time.Second))
}

// A storm of reloads ends with what is in the file, and with no more memory, descriptors or threads than before.
func TestReloadStorm(t *testing.T) {
	a, b := nettest.Start(t, nettest.Echo), nettest.Start(t, nettest.Echo)
	second := nettest.Reserve(t)
	l := layout{listen: nettest.Reserve(t), levels: servers(a.Addr())}
	one := l.String()
	l.levels = servers(b.Addr(), a.Addr()+" weight=3")
	l.more = pair("second", second, b.Addr())
	two := l.String()
	w := start(t, one)
	for range 3 {
		w.reload(two)
		w.reload(one)
	}
	w.rested()
	threads, memory := w.proc().Threads(t), w.proc().RSS(t)
	traffic := startLoad(t, l.listen, 2, 20)
	begin := time.Now()
	for i := range 100 {
		w.write([]string{two, one}[i%2])
		w.signal(syscall.SIGHUP)
		time.Sleep(time.Until(begin.Add(time.Duration(i+1) * 10 * time.Millisecond)))
	}
	nettest.Wait(t, 3*time.Second, "the last file to be in force", func() bool {
		c, err := nettest.TryDial(second)
		if err == nil {
			c.Close()
		}
		return errors.Is(err, syscall.ECONNREFUSED)
	})
	time.Sleep(200 * time.Millisecond)
	before := b.Accepted()
	time.Sleep(200 * time.Millisecond)
	require.Equal(t, before, b.Accepted(), "the last file's servers alone are used")
	traffic.end()
	for _, r := range w.all(func(r record) bool { return r.is("reload_failed") }) {
		require.Contains(t, fmt.Sprint(r), "changed while it was read", "the only reason there may be")
	}
	w.rested()
	require.LessOrEqual(t, w.proc().Threads(t), threads+5)
	grown(t, w, memory, memory/10+fixed)
}

// Reload after reload with real changes under load: servers added, removed, re-weighted and moved between levels,
// listeners added and removed. No connection fails and no session breaks.
func TestReloadsUnderLoad(t *testing.T) {
	hosts := make([]*nettest.Host, 4)
	for i := range hosts {
		hosts[i] = nettest.Start(t, nettest.Echo)
	}
	extra := []string{nettest.Reserve(t), nettest.Reserve(t)}
	base := layout{listen: nettest.Reserve(t), runtime: `drain_timeout = "10m"`, levels: servers(hosts[0].Addr())}
	// Only sessions that go wrong leave a record: one for each would be more than the test can read at a larger scale.
	text := func(l layout) string {
		return strings.Replace(l.String(), `sessions = "all"`, `sessions = "errors"`, 1)
	}
	w := start(t, text(base))
	random := rand.New(rand.NewPCG(1, 2))
	change := func() layout {
		l := base
		l.levels = [][]string{{}, {}}
		for _, h := range hosts {
			if at := random.IntN(3); at < 2 {
				l.levels[at] = append(l.levels[at], fmt.Sprintf("%s weight=%d", h.Addr(), 1+random.IntN(5)))
			}
		}
		if len(l.levels[0])+len(l.levels[1]) == 0 {
			l.levels[0] = append(l.levels[0], hosts[0].Addr())
		}
		for i, addr := range extra {
			if random.IntN(2) == 0 {
				l.more += pair(fmt.Sprintf("extra%d", i), addr, hosts[random.IntN(len(hosts))].Addr())
			}
		}
		return l
	}
	for range 5 {
		w.reload(text(change()))
	}
	w.reload(text(base))
	w.rested()
	threads, memory := w.proc().Threads(t), w.proc().RSS(t)
	traffic := startLoad(t, base.listen, 4, 50)
	for range scaled(200) {
		w.reload(text(change()))
	}
	w.reload(text(base))
	traffic.end()
	t.Logf("%d short sessions", traffic.short.Load())
	w.rested()
	require.LessOrEqual(t, w.proc().Threads(t), threads+5)
	grown(t, w, memory, memory/5+fixed)
	require.Empty(t, w.loud())
	require.Empty(t, w.all(func(r record) bool { return r.end() != "" }))
}

// A large configuration is gone over to at once, and nobody notices: not those who come meanwhile, nor those who are there.
func TestReloadAtScale(t *testing.T) {
	host := nettest.Start(t, nettest.Echo)
	const clusters = 20
	perCluster, listeners, live := 50, 200, scaled(2000)
	if raceEnabled {
		live = scaled(300)
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
				if s != turn%perCluster { // one leaves, another comes, and all are weighted anew
					fmt.Fprintf(&b, "\"%s name=s%d weight=%d\",", host.Addr(), s, 1+(s+turn)%9)
				}
			}
			fmt.Fprintf(&b, "]\n[[cluster.c%d.check]]\ntype = \"tcp\"\ninterval = \"1m\"\n", c)
		}
		return b.String()
	}
	w := start(t, config(0))
	conns := make([]*net.TCPConn, live)
	for i := range conns {
		conns[i] = nettest.Dial(t, addrs[i%listeners])
		require.NoError(t, pingpong(conns[i]))
	}
	traffic := startLoad(t, addrs[0], 2, 0)
	var took []time.Duration
	for turn := range 8 {
		w.write(config(turn + 1))
		r := w.hup("reload")
		ms, _ := r["took_ms"].(float64)
		took = append(took, time.Duration(ms*float64(time.Millisecond)))
	}
	traffic.end()
	for _, c := range conns {
		require.NoError(t, pingpong(c))
		c.Close()
	}
	t.Logf("%d sessions, reloads took %v", live, took)
	if !raceEnabled {
		require.Less(t, slices.Min(took), 100*time.Millisecond)
	}
}

// A reload does not forget that a server is down.
func TestReloadKeepsVerdicts(t *testing.T) {
	t.Parallel()
	hosts := letters(t, "AB")
	// A server whose check fails while it would serve: any session it gets shows.
	_, port, _ := strings.Cut(nettest.Reserve(t), ":")
	check := "[[cluster.c.check]]\ntype = \"tcp\"\ninterval = \"200ms\"\ntimeout = \"100ms\"\nfall = 3\nservers = [\"A\"]\nport = " +
		port + "\n"
	l := layout{listen: nettest.Reserve(t), checks: check, levels: [][]string{weighted(hosts, "A B")}}
	w := start(t, l.String())
	w.waitEvent("server_down", "A")
	before := hosts["A"].Accepted()
	for i := range 10 {
		l.levels = [][]string{weighted(hosts, fmt.Sprintf("A=%d B=1", i+2))}
		w.reload(l.String())
		require.Equal(t, "BBBBB", sequence(t, l.listen, 5))
	}
	require.Equal(t, before, hosts["A"].Accepted())
	require.Len(t, w.all(func(r record) bool { return r.is("server_down") && r.str("server") == "A" }), 1, "told once")
}

// Connections that wait in the accept queue while a reload happens are served, whatever it changes.
func TestReloadKeepsAcceptQueue(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.SendText("ok"))
	l := layout{listen: nettest.Reserve(t), levels: servers(host.Addr())}
	base := l.String()
	w := start(t, base)
	for i := range 3 {
		w.signal(syscall.SIGSTOP)
		clients := make([]*net.TCPConn, scaled(200))
		for i := range clients {
			clients[i] = nettest.Dial(t, l.listen)
		}
		l.listener = fmt.Sprintf("client_idle_timeout = \"%ds\"", 100+i)
		l.more = pair("extra", nettest.Reserve(t), host.Addr())
		w.write(l.String())
		w.signal(syscall.SIGHUP)
		w.signal(syscall.SIGCONT)
		for _, c := range clients {
			data, end := nettest.ReadToEnd(c, 5*time.Second)
			require.Equal(t, "ok", string(data))
			require.Equal(t, nettest.EOF, end)
			c.Close()
		}
		nettest.Wait(t, 5*time.Second, "the reload", func() bool {
			return len(w.all(func(r record) bool { return r.is("reload") })) == i+1
		})
	}
	w.reload(base)
}

// A server that moves to another level keeps its sessions and its state; its priority changes at once.
func TestReloadMovesServerBetweenLevels(t *testing.T) {
	t.Parallel()
	a, b := nettest.Start(t, nettest.Greet("A", nettest.Echo)), nettest.Start(t, nettest.Greet("B", nettest.Echo))
	l := layout{listen: nettest.Reserve(t), runtime: `drain_timeout = "300ms"`, levels: [][]string{{a.Addr()}, {b.Addr()}}}
	w := start(t, l.String())
	c := nettest.Dial(t, l.listen)
	require.Equal(t, "A", first(t, c))
	l.levels = [][]string{{b.Addr()}, {a.Addr()}}
	w.reload(l.String())
	for range 5 {
		require.Equal(t, "B", greeting(t, l.listen))
	}
	time.Sleep(600 * time.Millisecond)
	require.NoError(t, pingpong(c), "the session of a server that only moved is not drained")
}

// Timeouts that a reload changes hold for the sessions that come after it.
func TestReloadChangesTimeouts(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	l := layout{listen: nettest.Reserve(t), listener: `client_idle_timeout = "1m"`, levels: servers(host.Addr())}
	w := start(t, l.String())
	old := nettest.Dial(t, l.listen)
	require.NoError(t, pingpong(old))
	l.listener = `client_idle_timeout = "500ms"`
	w.reload(l.String())
	begin := time.Now()
	_, end := nettest.ReadToEnd(nettest.Dial(t, l.listen), 5*time.Second)
	require.NotEqual(t, nettest.Timeout, end)
	between(t, 500*time.Millisecond, time.Since(begin))
}

// Reloads that arrive while one is at work coalesce: the last file counts.
func TestReloadsCoalesce(t *testing.T) {
	t.Parallel()
	hosts := letters(t, "AB")
	l := layout{listen: nettest.Reserve(t), levels: [][]string{weighted(hosts, "A")}}
	w := start(t, l.String())
	l.levels = [][]string{weighted(hosts, "B")}
	w.write(l.String())
	for range 50 {
		w.signal(syscall.SIGHUP)
	}
	nettest.Wait(t, 5*time.Second, "the new file", func() bool { return sequence(t, l.listen, 1) == "B" })
	require.LessOrEqual(t, len(w.all(func(r record) bool { return r.is("reload") })), 50)
}

// A log file that cannot be opened refuses the whole reload, as everything else does that cannot be had: nothing of it is
// applied, and the log goes on where it was.
func TestReloadWithLogFileThatCannotBeHad(t *testing.T) {
	t.Parallel()
	hosts := letters(t, "AB")
	l := layout{listen: nettest.Reserve(t), levels: servers(hosts["A"].Addr())}
	w := start(t, l.String())
	l.levels = servers(hosts["B"].Addr())
	config := func(path string) string {
		return strings.Replace(l.String(), "[log]\n", fmt.Sprintf("[log]\nfile = %q\n", path), 1)
	}
	pipe := filepath.Join(t.TempDir(), "pipe")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	for _, path := range []string{"/nowhere/weir.log", t.TempDir(), pipe} { // the pipe has no reader
		require.Regexp(t, `weir.toml:\d+:8: log.file: open `+path, w.reloadFails(config(path)).str("error"))
	}
	require.Equal(t, "AA", sequence(t, l.listen, 2), "the servers of before")
	w.rested()
	file := filepath.Join(t.TempDir(), "weir.log")
	w.write(config(file))
	w.signal(syscall.SIGHUP)
	nettest.Wait(t, 5*time.Second, "the reload in the new file", func() bool { return strings.Contains(readFile(t, file), `"event":"reload"`) })
	require.Equal(t, "BB", sequence(t, l.listen, 2))
	w.reload(l.String())
}
