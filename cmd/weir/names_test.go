package main_test

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
)

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

// start runs weir in the namespace, in a file system in which the name server is everybody's.
func (s *nameServer) start(t *testing.T, config string) *weir {
	t.Helper()
	return s.asker(t).start(t, config)
}

// asker is how that is launched.
func (s *nameServer) asker(t *testing.T) launch {
	t.Helper()
	dir := t.TempDir()
	script := ""
	for name, text := range map[string]string{
		"resolv.conf": "nameserver 127.0.0.53\noptions timeout:1 attempts:2\n",
		"hosts":       "127.0.0.1 localhost\n127.0.0.77 fixed.test\n",
	} {
		require.NoError(t, os.WriteFile(dir+"/"+name, []byte(text), 0o644))
		script += fmt.Sprintf("mount --bind %s/%s /etc/%s && ", dir, name, name)
	}
	return launch{ns: s.ns, under: []string{"unshare", "-m", "sh", "-c", script + `exec "$@"`, "sh"}}
}

// says sets what a name stands for; without addresses there is no such name.
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

// answer serves until the socket is closed. A question is a header of twelve bytes, the name as counted labels, type and
// class; an answer repeats it and adds records that point back at the name.
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

// served tells who serves in a namespace: the name that a new session is told, or "".
func served(ns *nettest.Namespace, addr string) string {
	c, err := ns.TryDial(addr)
	if err != nil {
		return ""
	}
	defer c.Close()
	data, _ := nettest.ReadToEnd(c, 10*time.Second)
	return string(data)
}

// The life of a host name: unknown at the start while another server serves, known later, moved, denied, and not answered
// for at all; weir goes by the last good answer.
func TestHostNames(t *testing.T) {
	t.Parallel()
	ns := nettest.NewNamespace(t)
	dns := newNameServer(t, ns)
	ns.Start("127.0.0.11:7001", nettest.SendText("1"))
	ns.Start("127.0.0.12:7001", nettest.SendText("2"))
	ns.Start("127.0.0.13:7002", nettest.SendText("X"))
	l := layout{
		listen: "127.0.0.1:7000", cluster: "resolve_interval = \"100ms\"",
		levels: [][]string{{"db.test:7001 name=db"}, {"127.0.0.13:7002 name=x"}},
	}
	w := dns.start(t, l.String())
	require.Equal(t, "X", served(ns, l.listen))
	require.Len(t, w.all(func(r record) bool { return r.is("unresolved") && strings.Contains(r.str("error"), "db.test") }), 1)

	dns.says("db.test", "127.0.0.11")
	w.waitEvent("server_up", "db")
	require.Equal(t, "1", served(ns, l.listen))

	moved := func(to string) {
		w.waitRecord(5*time.Second, "the new address", func(r record) bool {
			return r.is("resolved") && strings.Contains(fmt.Sprint(r["to"]), to)
		})
	}
	dns.says("db.test", "127.0.0.12")
	moved("127.0.0.12")
	nettest.Wait(t, 5*time.Second, "the new address", func() bool { return served(ns, l.listen) == "2" })

	dns.says("db.test", "127.0.0.99", "127.0.0.11") // the first refuses
	moved("127.0.0.99")
	nettest.Wait(t, 5*time.Second, "the second address", func() bool { return served(ns, l.listen) == "1" })

	dns.says("db.test")
	asked := dns.questions()
	nettest.Wait(t, 5*time.Second, "some questions", func() bool { return dns.questions() > asked+6 })
	require.Equal(t, "1", served(ns, l.listen))
	dns.silence(true)
	require.Equal(t, "1", served(ns, l.listen))
	begin := time.Now()
	l.cluster += "\ntry = 3"
	w.reload(l.String())
	require.Less(t, nettest.Elapsed(begin), 2*time.Second, "names that are known are not waited for")
	require.Equal(t, "1", served(ns, l.listen))
	require.Equal(t, []string{"server_up 1 db unresolved→up"}, w.events("server_up", "server_down", "server_state"))
}

// Whoever stops weir does not wait for a resolver that is silent, be it that a reload asks it or the start.
func TestStopWhileNamesAreAskedFor(t *testing.T) {
	t.Parallel()
	for i, stop := range []string{"reload", "start", "twice"} {
		t.Run(stop, func(t *testing.T) {
			t.Parallel()
			ns := nettest.NewNamespace(t)
			dns := newNameServer(t, ns)
			dns.silence(true)
			l := layout{listen: "127.0.0.1:7000", levels: servers("127.0.0.11:7001")}
			named := layout{listen: l.listen, levels: servers(fmt.Sprintf("db%d.test:7001", i))}
			var w *weir
			if stop == "start" {
				w = dns.asker(t).launch(t, named.String())
			} else {
				w = dns.start(t, l.String())
				w.write(named.String())
				w.signal(syscall.SIGHUP)
			}
			nettest.Wait(t, 10*time.Second, "a question", func() bool { return dns.questions() > 0 })
			if stop == "twice" {
				w.signal(syscall.SIGHUP)
				time.Sleep(10 * time.Millisecond)
			}
			begin := time.Now()
			w.signal(syscall.SIGTERM)
			require.Zero(t, w.exit(10*time.Second))
			require.Less(t, nettest.Elapsed(begin), time.Second)
		})
	}
}

// All addresses of a name are tried within the time that there is, be it connect_timeout or the shorter try_timeout.
func TestAddressesShareTheTime(t *testing.T) {
	t.Parallel()
	ns, other := nettest.NewNamespace(t), nettest.NewNamespace(t)
	ns.Connect(other, "10.99.0.5", "10.99.0.6")
	dns := newNameServer(t, ns)
	dns.says("db.test", "10.99.0.3", "10.99.0.5") // nobody answers for the first
	ns.Start("10.99.0.5:7001", nettest.SendText("1"))
	for _, limits := range []string{"connect_timeout = \"1s\"", "try_timeout = \"1s\"\nconnect_timeout = \"10s\""} {
		l := layout{listen: nettest.Reserve(t), cluster: limits, levels: servers("db.test:7001")}
		dns.start(t, l.String())
		begin := time.Now()
		require.Equal(t, "1", served(ns, l.listen), limits)
		require.Greater(t, time.Since(begin), 400*time.Millisecond, "the first address is tried first")
	}
}

// A reload that names a server by an unknown name is refused, at once when the name is denied and within seconds when
// nobody answers, and nothing of it is in force.
func TestReloadWithUnknownHostName(t *testing.T) {
	t.Parallel()
	ns := nettest.NewNamespace(t)
	dns := newNameServer(t, ns)
	ns.Start("127.0.0.11:7001", nettest.SendText("1"))
	ns.Start("127.0.0.77:7002", nettest.SendText("F"))
	l := layout{listen: "127.0.0.1:7000", levels: servers("127.0.0.11:7001")}
	w := dns.start(t, l.String())
	other := l
	other.levels = servers("fixed.test:7002", "nowhere.test:7001")
	r := w.reloadFails(other.String())
	require.Contains(t, r.str("error"), "nowhere.test")
	require.Equal(t, "1", served(ns, l.listen))
	dns.silence(true)
	begin := time.Now()
	w.reloadFails(other.String())
	require.Less(t, nettest.Elapsed(begin), 5*time.Second)
	require.Equal(t, "1", served(ns, l.listen))
	other.levels = servers("fixed.test:7002")
	w.reload(other.String())
	require.Equal(t, "F", served(ns, l.listen), "from the hosts file")
}

// Weir starts without a resolver, within seconds, and serves from whatever needs none.
func TestStartWithoutResolver(t *testing.T) {
	t.Parallel()
	ns := nettest.NewNamespace(t)
	dns := newNameServer(t, ns)
	dns.silence(true)
	ns.Start("127.0.0.11:7001", nettest.SendText("1"))
	begin := time.Now()
	dns.start(t, layout{
		listen: "127.0.0.1:7000", levels: servers("a.test:7001", "b.test:7001", "c.test:7001", "127.0.0.11:7001"),
	}.String())
	require.Less(t, nettest.Elapsed(begin), 5*time.Second+500*time.Millisecond)
	require.Equal(t, "1", served(ns, "127.0.0.1:7000"))
}
