package reload_test

import (
	"fmt"
	"net"
	"net/netip"
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

// lookupTimeout is the time for which a start or a reload waits for all look-ups.
const lookupTimeout = 4 * time.Second

// nameServer is a small DNS server in a namespace, at 127.0.0.53.
type nameServer struct {
	ns    *nettest.Namespace
	mu    sync.Mutex
	known map[string][]string // name → IPv4 addresses
	mute  bool
	asked int
}

func newNameServer(t *testing.T, ns *nettest.Namespace) *nameServer {
	t.Helper()
	var conn net.PacketConn
	var err error
	ns.Do(func() { conn, err = net.ListenPacket("udp", "127.0.0.53:53") })
	require.NoError(t, err)
	s := &nameServer{ns: ns, known: map[string][]string{}}
	var done sync.WaitGroup
	done.Go(func() { s.answer(conn) })
	t.Cleanup(func() {
		conn.Close()
		done.Wait()
	})
	return s
}

// start runs weir in the namespace, in a file system whose resolver configuration names the test's name server.
func (s *nameServer) start(t *testing.T, config string) *weirtest.Weir {
	t.Helper()
	return s.asker(t).Start(t, config)
}

// asker returns the options for that start.
func (s *nameServer) asker(t *testing.T) weirtest.Options {
	t.Helper()
	return weirtest.Options{Namespace: s.ns, Wrapper: weirtest.WithResolver(t, "127.0.0.53", "127.0.0.77 fixed.test\n")}
}

// says sets the addresses of a name; without addresses the name does not exist.
func (s *nameServer) says(name string, addrs ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known[name+"."] = addrs
}

func (s *nameServer) silence(mute bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mute = mute
}

func (s *nameServer) questions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

// answer serves until the socket is closed. A query is a header of twelve bytes, the name as counted labels, type and
// class; a response repeats it and adds records that point to the name.
func (s *nameServer) answer(conn net.PacketConn) {
	buf := make([]byte, 1500)
	for {
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			return
		}
		name, end := "", 12
		for end < n && buf[end] != 0 {
			label := buf[end+1 : end+1+int(buf[end])]
			name += string(label) + "."
			end += 1 + len(label)
		}
		end += 5
		s.mu.Lock()
		s.asked++
		mute, addrs := s.mute, s.known[strings.ToLower(name)]
		s.mu.Unlock()
		if mute {
			continue
		}
		reply := slices.Clone(buf[:end])
		copy(reply[2:], []byte{0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0}) // a response, with one question and nothing else yet
		if len(addrs) == 0 {
			reply[3] |= 3 // no such name
		}
		if reply[end-3] == 1 { // IPv4 addresses are asked for
			reply[7] = byte(len(addrs))
			for _, a := range addrs {
				reply = append(reply, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4)
				reply = append(reply, netip.MustParseAddr(a).AsSlice()...)
			}
		}
		conn.WriteTo(reply, from)
	}
}

// served returns the name that the server sends to a new session, or "".
func served(ns *nettest.Namespace, addr string) string {
	c, err := ns.TryDial(addr)
	if err != nil {
		return ""
	}
	defer c.Close()
	data, _ := nettest.ReadToEnd(c, 10*time.Second)
	return string(data)
}

// The life of a host name: unknown at the start while another server serves, later resolved, changed, non-existent, and
// without a response. weir uses the last valid response.
func TestHostNames(t *testing.T) {
	t.Parallel()
	ns := nettest.NewNamespace(t)
	dns := newNameServer(t, ns)
	ns.Start("127.0.0.11:7001", nettest.SendText("1"))
	ns.Start("127.0.0.12:7001", nettest.SendText("2"))
	ns.Start("127.0.0.13:7002", nettest.SendText("X"))
	l := weirtest.Config{
		Listen: "127.0.0.1:7000", Cluster: "resolve_interval = \"100ms\"",
		Levels: [][]string{{"db.test:7001 name=db"}, {"127.0.0.13:7002 name=x"}},
	}
	w := dns.start(t, l.String())
	require.Equal(t, "X", served(ns, l.Listen))
	require.Len(t, w.Records(func(r weirtest.Record) bool {
		return r.IsEvent("host name not resolved") && strings.Contains(r.Text("error"), "db.test")
	}), 1)

	dns.says("db.test", "127.0.0.11")
	w.WaitEvent("server_up", "db")
	require.Equal(t, "1", served(ns, l.Listen))

	moved := func(to string) {
		w.WaitRecord(15*time.Second, "the new address", func(r weirtest.Record) bool {
			return r.IsEvent("host name resolved") && strings.Contains(fmt.Sprint(r["to"]), to)
		})
	}
	dns.says("db.test", "127.0.0.12")
	moved("127.0.0.12")
	nettest.Wait(t, 15*time.Second, "the new address", func() bool { return served(ns, l.Listen) == "2" })

	dns.says("db.test", "127.0.0.99", "127.0.0.11") // the first refuses
	moved("127.0.0.99")
	nettest.Wait(t, 15*time.Second, "the second address", func() bool { return served(ns, l.Listen) == "1" })

	dns.says("db.test")
	asked := dns.questions()
	nettest.Wait(t, 15*time.Second, "some questions", func() bool { return dns.questions() > asked+6 })
	require.Equal(t, "1", served(ns, l.Listen))
	dns.silence(true)
	require.Equal(t, "1", served(ns, l.Listen))
	begin := time.Now()
	l.Cluster += "\ntry = 3"
	w.Reload(l.String())
	require.Less(t, nettest.Elapsed(begin), lookupTimeout-500*time.Millisecond, "names that are known are not waited for")
	require.Equal(t, "1", served(ns, l.Listen))
	require.Equal(t, []string{"server_up 1 db unresolved→up"}, w.Events("server_up", "server_down", "server_state"))
}

// A stop does not wait for a resolver that does not respond, during a reload or at the start.
func TestStopDuringNameResolution(t *testing.T) {
	t.Parallel()
	for i, stop := range []string{"reload", "start", "twice"} {
		t.Run(stop, func(t *testing.T) {
			t.Parallel()
			ns := nettest.NewNamespace(t)
			dns := newNameServer(t, ns)
			dns.silence(true)
			l := weirtest.Config{Listen: "127.0.0.1:7000", Levels: weirtest.OneLevel("127.0.0.11:7001")}
			named := weirtest.Config{Listen: l.Listen, Levels: weirtest.OneLevel(fmt.Sprintf("db%d.test:7001", i))}
			var w *weirtest.Weir
			if stop == "start" {
				w = dns.asker(t).StartUnready(t, named.String())
			} else {
				w = dns.start(t, l.String())
				w.WriteConfig(named.String())
				w.Signal(syscall.SIGHUP)
			}
			nettest.Wait(t, 10*time.Second, "a question", func() bool { return dns.questions() > 0 })
			if stop == "twice" {
				w.Signal(syscall.SIGHUP)
				time.Sleep(10 * time.Millisecond)
			}
			begin := time.Now()
			w.Signal(syscall.SIGTERM)
			require.Zero(t, w.WaitExit(10*time.Second))
			require.Less(t, nettest.Elapsed(begin), lookupTimeout-time.Second)
		})
	}
}

// All addresses of a name are tried within connect_timeout or the shorter try_timeout.
func TestAddressesShareTheTime(t *testing.T) {
	t.Parallel()
	ns, other := nettest.NewNamespace(t), nettest.NewNamespace(t)
	ns.Connect(other, "10.99.0.5", "10.99.0.6")
	dns := newNameServer(t, ns)
	dns.says("db.test", "10.99.0.3", "10.99.0.5") // no host has the first address
	ns.Start("10.99.0.5:7001", nettest.SendText("1"))
	for _, limits := range []string{"connect_timeout = \"1500ms\"", "try_timeout = \"1500ms\"\nconnect_timeout = \"30s\""} {
		l := weirtest.Config{Listen: nettest.Reserve(t), Cluster: limits, Levels: weirtest.OneLevel("db.test:7001")}
		dns.start(t, l.String())
		begin := time.Now()
		require.Equal(t, "1", served(ns, l.Listen), limits)
		require.Greater(t, time.Since(begin), 600*time.Millisecond, "the first address is tried first")
	}
}

// A reload with an unknown host name fails: immediately if the name does not exist, within seconds without a response.
// Nothing of it is applied.
func TestReloadWithUnknownHostName(t *testing.T) {
	t.Parallel()
	ns := nettest.NewNamespace(t)
	dns := newNameServer(t, ns)
	ns.Start("127.0.0.11:7001", nettest.SendText("1"))
	ns.Start("127.0.0.77:7002", nettest.SendText("F"))
	l := weirtest.Config{Listen: "127.0.0.1:7000", Levels: weirtest.OneLevel("127.0.0.11:7001")}
	w := dns.start(t, l.String())
	other := l
	other.Levels = weirtest.OneLevel("fixed.test:7002", "nowhere.test:7001")
	r := w.FailReload(other.String())
	require.Contains(t, r.Text("error"), "nowhere.test")
	require.Equal(t, "1", served(ns, l.Listen))
	dns.silence(true)
	begin := time.Now()
	w.FailReload(other.String())
	require.Less(t, nettest.Elapsed(begin), lookupTimeout+weirtest.Bound(time.Second))
	require.Equal(t, "1", served(ns, l.Listen))
	other.Levels = weirtest.OneLevel("fixed.test:7002")
	w.Reload(other.String())
	require.Equal(t, "F", served(ns, l.Listen), "from the hosts file")
}

// weir starts without a resolver, within seconds, and uses the servers that need none.
func TestStartWithoutResolver(t *testing.T) {
	t.Parallel()
	ns := nettest.NewNamespace(t)
	dns := newNameServer(t, ns)
	dns.silence(true)
	ns.Start("127.0.0.11:7001", nettest.SendText("1"))
	begin := time.Now()
	dns.start(t, weirtest.Config{
		Listen: "127.0.0.1:7000", Levels: weirtest.OneLevel("a.test:7001", "b.test:7001", "c.test:7001", "127.0.0.11:7001"),
	}.String())
	require.Less(t, nettest.Elapsed(begin), lookupTimeout+weirtest.Bound(time.Second))
	require.Equal(t, "1", served(ns, "127.0.0.1:7000"))
}

// A name that resolved at the start and fails later is a problem after three look-ups in a row, with one warning; its
// addresses stay in use. It is none any more when it resolves again.
func TestNameThatFailsLaterIsAProblem(t *testing.T) {
	t.Parallel()
	ns := nettest.NewNamespace(t)
	dns := newNameServer(t, ns)
	ns.Start("127.0.0.11:7001", nettest.SendText("1"))
	dns.says("db.test", "127.0.0.11")
	dns.says("other.test", "127.0.0.11")
	l := weirtest.Config{
		Listen: "127.0.0.1:7000", Cluster: "resolve_interval = \"100ms\"", Levels: weirtest.OneLevel("db.test:7001 name=db", "other.test:7001 name=other"),
	}
	api := weirtest.NewAPI(t)
	w := dns.start(t, api.AddTo(l.String()))
	problems := func() string { return fmt.Sprint(api.Get("problems")) }
	require.Equal(t, "[]", problems())

	before := time.Now()
	dns.says("db.test") // the name does not exist any more
	nettest.Wait(t, 10*time.Second, "the problem", func() bool { return problems() != "[]" })
	require.Contains(t, problems(), "db.test: not resolved, the last addresses stay in use")
	require.NotContains(t, problems(), "other.test")
	lookup := api.Get("failed_lookups", 0).(map[string]any)
	require.Equal(t, "db.test", lookup["name"])
	require.Contains(t, lookup["reason"], "no address")
	since, err := time.Parse(time.RFC3339Nano, lookup["since"].(string))
	require.NoError(t, err)
	require.WithinRange(t, since, before, time.Now())
	require.Contains(t, api.MustRunCommand("status"), "db.test: not resolved")
	require.Equal(t, "1", served(ns, l.Listen))
	asked := dns.questions()
	nettest.Wait(t, 15*time.Second, "more look-ups", func() bool { return dns.questions() > asked+20 })
	warnings := func() int {
		return len(w.Records(func(r weirtest.Record) bool {
			return r.IsEvent("host name not resolved, its last addresses stay in use") && r.Text("level") == "WARN"
		}))
	}
	require.Equal(t, 1, warnings())

	dns.says("db.test", "127.0.0.11")
	nettest.Wait(t, 10*time.Second, "no problem", func() bool { return problems() == "[]" })
	require.Equal(t, 1, warnings())

	// A name that leaves the configuration is no problem.
	dns.says("db.test")
	nettest.Wait(t, 10*time.Second, "the problem", func() bool { return problems() != "[]" })
	l.Levels = weirtest.OneLevel("127.0.0.11:7001")
	w.Reload(api.AddTo(l.String()))
	require.Equal(t, "[]", problems())
}
