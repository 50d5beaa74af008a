// Limits per source: IPv6 clients count by their prefix.

package tcp_test

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// newIPv6Clients returns a namespace with two addresses of one /64 and one of another /64 in the same /48.
func newIPv6Clients(t *testing.T) *nettest.Namespace {
	t.Helper()
	ns := nettest.NewNamespace(t)
	for _, ip := range []string{"2001:db8:0:1::1", "2001:db8:0:1:ffff::2", "2001:db8:0:2::1"} {
		ns.AddAddress(ip)
	}
	return ns
}

// comeFrom connects from a local address of the namespace and reports whether the client is served. The connection stays open
// until the test ends or the caller closes it.
func comeFrom(t *testing.T, ns *nettest.Namespace, from, addr string) (net.Conn, bool) {
	t.Helper()
	var c net.Conn
	var err error
	ns.Do(func() {
		c, err = (&net.Dialer{Timeout: 15 * time.Second, LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}).Dial("tcp", addr)
	})
	if err == nil {
		t.Cleanup(func() { c.Close() })
		c.SetReadDeadline(time.Now().Add(15 * time.Second))
		if _, err = io.ReadFull(c, make([]byte, 1)); err == nil {
			return c, true
		}
	}
	require.Equal(t, nettest.Reset, nettest.StreamEndOf(err), "%s: %v", from, err)
	return nil, false
}

// arrival is a client that comes, and whether it is served.
type arrival struct {
	from   string
	served bool
}

const (
	oneA = "2001:db8:0:1::1"      // in one /64
	oneB = "2001:db8:0:1:ffff::2" // with this one
	two  = "2001:db8:0:2::1"      // in another /64 of the /48
)

// The clients of one IPv6 prefix share the limit on sessions, and on new sessions per second; IPv4 clients count by their
// address.
func TestSourcesAreIPv6Prefixes(t *testing.T) {
	t.Parallel()
	ns := newIPv6Clients(t)
	host := ns.Start("127.0.0.1:7001", nettest.Greet("x", nettest.Echo))
	for _, limit := range []string{"max_sessions_per_source = 2", "max_session_rate_per_source = 2"} {
		for _, c := range []struct {
			name, prefix string
			arrivals     []arrival
		}{
			{"default", "", []arrival{{oneA, true}, {oneB, true}, {oneA, false}, {oneB, false}, {two, true}, {two, true}, {two, false}}},
			{"64", "source_prefix_v6 = 64", []arrival{{oneB, true}, {oneA, true}, {oneB, false}, {two, true}}},
			{"128", "source_prefix_v6 = 128", []arrival{{oneA, true}, {oneB, true}, {oneA, true}, {oneB, true}, {oneA, false}, {oneB, false}, {two, true}}},
			{"48", "source_prefix_v6 = 48", []arrival{{oneA, true}, {two, true}, {oneB, false}, {two, false}}},
			{"IPv4", "source_prefix_v6 = 1", []arrival{
				{"127.0.0.2", true}, {"127.0.0.2", true}, {"127.0.0.3", true}, {"127.0.0.2", false}, {oneA, true}, {two, true}, {oneB, false},
			}},
		} {
			t.Run(limit+" "+c.name, func(t *testing.T) {
				a := weirtest.NewAPI(t)
				l := weirtest.Config{Listen: "[::]:7000", Runtime: "loops = 2", Listener: limit + "\n" + c.prefix, Levels: weirtest.OneLevel(host.Addr())}
				weirtest.Options{Namespace: ns}.Start(t, a.AddTo(l.String()))
				begin, rejected := time.Now(), 0
				var served []net.Conn
				paced := limit == "max_session_rate_per_source = 2" // its buckets get a unit each half a second
				for i, who := range c.arrivals {
					to := "[::1]:7000"
					if net.ParseIP(who.from).To4() != nil {
						to = "127.0.0.1:7000"
					}
					conn, ok := comeFrom(t, ns, who.from, to)
					if ok {
						served = append(served, conn)
					} else {
						rejected++
					}
					if paced && ok && !who.served && time.Since(begin) >= time.Second/2 {
						t.Logf("a slow machine: the rate has admitted client %d after %v", i, time.Since(begin))
						break
					}
					require.Equal(t, who.served, ok, "%s, prefix %s: client %d from %s", limit, c.name, i, who.from)
				}
				reason := limit[:len(limit)-len(" = 2")]
				require.Equal(t, rejected, rejections(a)[reason], "%s, prefix %s", limit, c.name) // counted before the reset
				for _, conn := range served {
					conn.Close()
				}
				nettest.Wait(t, 5*time.Second, "room", func() bool { // a session has ended, or half a second has passed
					conn, ok := comeFrom(t, ns, c.arrivals[0].from, map[bool]string{true: "127.0.0.1:7000", false: "[::1]:7000"}[c.name == "IPv4"])
					if ok {
						conn.Close()
					}
					return ok
				})
			})
		}
	}
}

// A reload with another prefix counts the existing sessions by it.
func TestReloadOfSourcePrefix(t *testing.T) {
	t.Parallel()
	ns := newIPv6Clients(t)
	host := ns.Start("127.0.0.1:7001", nettest.Greet("x", nettest.Echo))
	config := func(prefix string) string {
		return weirtest.Config{
			Listen: "[::]:7000", Runtime: "loops = 2", Listener: "max_sessions_per_source = 2\nsource_prefix_v6 = " + prefix, Levels: weirtest.OneLevel(host.Addr()),
		}.String()
	}
	w := weirtest.Options{Namespace: ns}.Start(t, config("128"))
	come := func(from string) bool { _, ok := comeFrom(t, ns, from, "[::1]:7000"); return ok }
	require.True(t, come(oneA))
	require.True(t, come(oneB))
	require.True(t, come(two))
	w.Reload(config("64"))
	require.False(t, come(oneA))
	require.True(t, come(two))
	require.False(t, come(two))
	w.Reload(config("128"))
	require.True(t, come(oneA))
	require.False(t, come(oneA))
	w.Upgrade()
	require.False(t, come(oneA))
	require.True(t, come(oneB))
	require.False(t, come(oneB))
}
