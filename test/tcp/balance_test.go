package tcp_test

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// toldFrom opens a session from a source address and returns what the server sends.
func toldFrom(t *testing.T, source, addr string) string {
	t.Helper()
	c := nettest.DialFrom(t, source, addr)
	defer c.Close()
	data, end := nettest.ReadToEnd(c, 5*time.Second)
	require.Equal(t, nettest.EOF, end)
	return string(data)
}

// clients returns n source addresses.
func clients(n int) []string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf("127.1.%d.%d", i/200, i%200+1))
	}
	return out
}

// choices returns the server of each client.
func choices(t *testing.T, clients []string, addr string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, ip := range clients {
		out[ip] = toldFrom(t, ip, addr)
	}
	return out
}

// count returns the number of clients of each server.
func count(choices map[string]string) map[string]int {
	out := map[string]int{}
	for _, name := range choices {
		out[name]++
	}
	return out
}

// Two instances with the same servers, in another order and under other names, choose the same server for every client.
// Clients of an IPv4 address and of a dual-stack IPv6 address get the same server.
func TestInstancesChooseSameServer(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"hash", "maglev", "ip_hash"} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			hosts := weirtest.StartLetters(t, "ABCDE")
			method := fmt.Sprintf("balance = %q", method)
			one := weirtest.WeightedLevel(hosts, "A=2 B=1 C=1 D=3 E=1")
			_, first := weirtest.Serve(t, weirtest.Config{Cluster: method, Levels: [][]string{one}})
			other := slices.Clone(one)
			slices.Reverse(other)
			for i := range other {
				other[i] = strings.Replace(other[i], "name=", "name=other-", 1)
			}
			_, port, _ := strings.Cut(nettest.Reserve(t), ":")
			weirtest.Serve(t, weirtest.Config{Listen: "[::]:" + port, Cluster: method, Levels: [][]string{other}})
			all := clients(60)
			want := choices(t, all, first)
			require.Len(t, count(want), 5)
			require.Equal(t, want, choices(t, all, "127.0.0.1:"+port))
		})
	}
}

// ip_hash is hash by client_ip, whatever hash_key is set.
func TestIPHashIsHashByClientAddress(t *testing.T) {
	t.Parallel()
	hosts := weirtest.StartLetters(t, "ABC")
	levels := [][]string{weirtest.WeightedLevel(hosts, "A B C")}
	_, one := weirtest.Serve(t, weirtest.Config{Cluster: "balance = \"ip_hash\"", Levels: levels})
	_, two := weirtest.Serve(t, weirtest.Config{Cluster: "balance = \"hash\"\nhash_key = \"client_ip\"", Levels: levels})
	require.Equal(t, choices(t, clients(30), one), choices(t, clients(30), two))
}

// With client_ip_port each connection is balanced separately, and to the same server by every instance.
func TestHashOnClientAddressAndPort(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"hash", "maglev"} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			hosts := weirtest.StartLetters(t, "ABC")
			l := weirtest.Config{
				Cluster: fmt.Sprintf("balance = %q\nhash_key = \"client_ip_port\"", method),
				Levels:  [][]string{weirtest.WeightedLevel(hosts, "A B C")},
			}
			_, one := weirtest.Serve(t, l)
			_, two := weirtest.Serve(t, l)
			used := map[string]bool{}
			for range 40 {
				_, port, _ := strings.Cut(nettest.ReserveOn(t, "127.1.9.9"), ":")
				told := func(addr string) string {
					d := net.Dialer{LocalAddr: tcpAddr(t, "127.1.9.9:"+port)}
					var c net.Conn
					var err error
					// The port is free again when the kernel has ended the last connection, which a poller that looks at it delays.
					nettest.Wait(t, 5*time.Second, "the client's port", func() bool {
						c, err = d.Dial("tcp", addr)
						return !errors.Is(err, syscall.EADDRINUSE)
					})
					require.NoError(t, err)
					defer nettest.Abort(c.(*net.TCPConn))
					data, _ := nettest.ReadToEnd(c, 5*time.Second)
					return string(data)
				}
				name := told(one)
				used[name] = true
				require.Equal(t, name, told(two))
				require.Equal(t, name, told(one))
			}
			require.Len(t, used, 3)
		})
	}
}

func tcpAddr(t *testing.T, addr string) *net.TCPAddr {
	t.Helper()
	a, err := net.ResolveTCPAddr("tcp", addr)
	require.NoError(t, err)
	return a
}

// With local_address only the address that the client connected to decides.
func TestHashOnLocalAddress(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"hash", "maglev"} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			hosts := weirtest.StartLetters(t, "ABC")
			_, port, _ := strings.Cut(nettest.ReserveOn(t, "0.0.0.0"), ":")
			weirtest.Serve(t, weirtest.Config{
				Listen: "0.0.0.0:" + port, Cluster: fmt.Sprintf("balance = %q\nhash_key = \"local_address\"", method),
				Levels: [][]string{weirtest.WeightedLevel(hosts, "A B C")},
			})
			used := map[string]bool{}
			for i := range 40 {
				local := fmt.Sprintf("127.2.0.%d:%s", i+1, port)
				name := toldFrom(t, "127.0.0.1", local)
				used[name] = true
				for _, ip := range clients(3) {
					require.Equal(t, name, toldFrom(t, ip, local))
				}
			}
			require.Len(t, used, 3)
		})
	}
}

// Clients of a unix socket have no address: they are balanced in turn.
func TestHashOfUnixClients(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"balance = \"hash\"", "balance = \"maglev\"", "balance = \"ip_hash\"",
		"balance = \"hash\"\nhash_key = \"client_ip_port\"", "balance = \"hash\"\nhash_key = \"local_address\""} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			hosts := weirtest.StartLetters(t, "ABC")
			path := weirtest.ShortTempDir(t) + "/weir"
			weirtest.Serve(t, weirtest.Config{Listen: "unix:" + path, Cluster: method, Levels: [][]string{weirtest.WeightedLevel(hosts, "A=5 B C")}})
			got := ""
			for range 14 {
				c, err := net.Dial("unix", path)
				require.NoError(t, err)
				data, _ := nettest.ReadToEnd(c, 5*time.Second)
				got += string(data)
				c.Close()
			}
			require.Equal(t, "AABACAAAABACAA", got)
		})
	}
}

// Shares follow weights. A server that a reload adds takes only its own share, and one that a reload removes gives up
// only its own share. maglev may move a little more.
func TestHashMovesLittle(t *testing.T) {
	t.Parallel()
	for method, more := range map[string]int{"hash": 0, "maglev": 12} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			hosts := weirtest.StartLetters(t, "ABCD")
			l := weirtest.Config{
				Listen: nettest.Reserve(t), Cluster: fmt.Sprintf("balance = %q", method), Levels: [][]string{weirtest.WeightedLevel(hosts, "A B=2 C")},
			}
			w := weirtest.Start(t, l.String())
			all := clients(200)
			before := choices(t, all, l.Listen)
			require.InDelta(t, 100, count(before)["B"], 30)
			require.InDelta(t, 50, count(before)["A"], 25)
			l.Levels = [][]string{weirtest.WeightedLevel(hosts, "C A D B=2")}
			w.Reload(l.String())
			after := choices(t, all, l.Listen)
			moved := 0
			for ip, name := range after {
				if name != before[ip] && name != "D" {
					moved++
				}
			}
			require.LessOrEqual(t, moved, more)
			require.InDelta(t, 40, count(after)["D"], 25)
			l.Levels = [][]string{weirtest.WeightedLevel(hosts, "A B=2 C")}
			w.Reload(l.String())
			require.Equal(t, before, choices(t, all, l.Listen))
		})
	}
}

// While the server of a key is full, the key uses another server, always the same one; it returns when a slot is free.
func TestHashWithFullServer(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"hash", "maglev"} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			hosts := map[string]*nettest.Host{}
			for _, name := range []string{"A", "B", "C"} {
				hosts[name] = nettest.Start(t, nettest.Greet(name, nettest.Echo))
			}
			w, addr := weirtest.Serve(t, weirtest.Config{
				Cluster: fmt.Sprintf("balance = %q\nmax_sessions = 2", method), Levels: [][]string{weirtest.WeightedLevel(hosts, "A B C")},
			})
			open := func() (*net.TCPConn, string) {
				c := nettest.DialFrom(t, "127.1.1.1", addr)
				c.SetReadDeadline(time.Now().Add(5 * time.Second))
				return c, weirtest.ReadByte(t, c)
			}
			var held []*net.TCPConn
			got := ""
			for range 6 {
				c, name := open()
				held = append(held, c)
				got += name
			}
			require.Equal(t, got[0], got[1])
			require.Equal(t, got[2], got[3])
			require.Equal(t, got[4], got[5])
			require.Len(t, map[byte]bool{got[0]: true, got[2]: true, got[4]: true}, 3)
			held[0].Close()
			w.SessionRecord(held[0])
			_, name := open()
			require.Equal(t, got[:1], name)
		})
	}
}

// With every method, a server with weight 0 gets no session while another server can serve, and all sessions when none
// can.
func TestWeightZero(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"wrr", "rr", "least_sessions", "random", "first", "least_time", "hash", "maglev"} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			hosts := weirtest.StartLetters(t, "AB")
			_, addr := weirtest.Serve(t, weirtest.Config{Cluster: fmt.Sprintf("balance = %q", method), Levels: [][]string{weirtest.WeightedLevel(hosts, "A=0 B=1")}})
			require.Equal(t, "BBBBBBBB", weirtest.ReadSessions(t, addr, 8))
			hosts["B"].Down()
			require.Equal(t, "AAAAAAAA", weirtest.ReadSessions(t, addr, 8))
		})
	}
}

// Open sessions are shared by weight: the server with the fewest per weight is next.
func TestLeastSessionsByWeight(t *testing.T) {
	t.Parallel()
	hosts := map[string]*nettest.Host{}
	for _, name := range []string{"A", "B"} {
		hosts[name] = nettest.Start(t, nettest.Greet(name, nettest.Echo))
	}
	_, addr := weirtest.Serve(t, weirtest.Config{Cluster: "balance = \"least_sessions\"", Levels: [][]string{weirtest.WeightedLevel(hosts, "A=1 B=3")}})
	for range 20 {
		weirtest.ReadByte(t, nettest.Dial(t, addr))
	}
	require.Equal(t, 5, hosts["A"].Open())
	require.Equal(t, 15, hosts["B"].Open())
}

// The first server takes all sessions while it has free slots, then the second one, and so on; a freed slot is used
// first.
func TestFirstWithFreeSlots(t *testing.T) {
	t.Parallel()
	hosts := map[string]*nettest.Host{}
	for _, name := range []string{"A", "B", "C"} {
		hosts[name] = nettest.Start(t, nettest.Greet(name, nettest.Echo))
	}
	w, addr := weirtest.Serve(t, weirtest.Config{
		Cluster: "balance = \"first\"", Levels: [][]string{weirtest.WeightedLevel(hosts, "A=1,max_sessions=3 B=9,max_sessions=1 C=5")},
	})
	var held []*net.TCPConn
	got := ""
	for range 7 {
		c := nettest.Dial(t, addr)
		held = append(held, c)
		got += weirtest.ReadByte(t, c)
	}
	require.Equal(t, "AAABCCC", got)
	held[1].Close()
	held[3].Close()
	w.SessionRecord(held[1])
	w.SessionRecord(held[3])
	require.Equal(t, "A", weirtest.ReadByte(t, nettest.Dial(t, addr)))
	require.Equal(t, "B", weirtest.ReadByte(t, nettest.Dial(t, addr)))
	require.Equal(t, "C", weirtest.ReadByte(t, nettest.Dial(t, addr)))
}

// Random shares follow weights; of two drawn servers the less busy one serves; a server that is down is never drawn.
func TestRandom(t *testing.T) {
	t.Parallel()
	hosts := weirtest.StartLetters(t, "ABCD")
	hosts["D"].Down()
	w, addr := weirtest.Serve(t, weirtest.Config{
		Cluster: "balance = \"random\"", Checks: weirtest.PassingCheck, Levels: [][]string{weirtest.WeightedLevel(hosts, "A=1 B=1 C=2 D=9")},
	})
	w.WaitEvent("server_down", "D")
	share := map[rune]int{}
	for _, name := range weirtest.ReadSessions(t, addr, 400) {
		share[name]++
	}
	require.InDelta(t, 100, share['A'], 45)
	require.InDelta(t, 100, share['B'], 45)
	require.InDelta(t, 200, share['C'], 50)
	require.Len(t, share, 3)

	busy := map[string]*nettest.Host{}
	for _, name := range []string{"A", "B", "C", "D"} {
		busy[name] = nettest.Start(t, nettest.Greet(name, nettest.Echo))
	}
	_, addr = weirtest.Serve(t, weirtest.Config{Cluster: "balance = \"random\"", Levels: [][]string{weirtest.WeightedLevel(busy, "A B C D")}})
	for range 80 {
		weirtest.ReadByte(t, nettest.Dial(t, addr))
	}
	for name, h := range busy {
		require.InDelta(t, 20, h.Open(), 6, "two choices keep it even: %s", name)
	}
}

// The server with the shorter connect time is preferred.
func TestLeastTime(t *testing.T) {
	t.Parallel()
	ns := nettest.NewNamespace(t)
	ns.Filter("tcp dport 7002 tcp flags & (syn|ack) == syn numgen inc mod 2 0 drop") // connecting takes a second SYN
	quick := ns.Start("127.0.0.1:7001", nettest.SendText("A"))
	slow := ns.Start("127.0.0.1:7002", nettest.SendText("B"))
	weirtest.Options{Namespace: ns}.Start(t, weirtest.Config{
		Listen: "127.0.0.1:7000", Cluster: "balance = \"least_time\"\nconnect_timeout = \"5s\"",
		Levels: weirtest.OneLevel("127.0.0.1:7002", "127.0.0.1:7001"),
	}.String())
	begin := time.Now()
	for range 20 {
		c := ns.Dial("127.0.0.1:7000")
		data, end := nettest.ReadToEnd(c, 15*time.Second)
		require.Len(t, data, 1)
		require.Equal(t, nettest.EOF, end)
		c.Close() // open sessions count too
	}
	// A measurement fades: on a slow machine the slow server is tried again now and then.
	require.LessOrEqual(t, slow.Accepted(), 1+int(time.Since(begin)/(2*time.Second)))
	require.Equal(t, 20, slow.Accepted()+quick.Accepted())
}
