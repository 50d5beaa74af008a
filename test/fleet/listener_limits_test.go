package fleet_test

import (
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/status"
	"weir/internal/weirtest"
)

// limitedListeners starts two nodes that share a limit of their listener.
func limitedListeners(t *testing.T, server, limit string) (nodes []*node) {
	t.Helper()
	etcd := nettest.StartEtcd(t, 1)
	nodes = fleetOf(t, etcd, 2, server)
	for _, n := range nodes {
		n.config = strings.Replace(n.config, "ttl = \"5s\"", "ttl = \"2s\"\nshare = [\"limits\"]\nlimit_reserve = \"6s\"", 1)
		n.config = strings.Replace(n.config, "cluster = \"c\"\n", "cluster = \"c\"\n"+limit+"\n", 1)
		n.start(t)
	}
	return nodes
}

// waitListenerPart waits until the part of the limit of the listener is as wanted.
func (n *node) waitListenerPart(t *testing.T, what string, is func(part int) bool) {
	t.Helper()
	n.waitFleet(t, what, func(f status.Fleet) bool {
		return len(f.Limits) == 1 && f.Limits[0].Listener == "l" && is(f.Limits[0].Part)
	})
}

// admitted opens connections until one is rejected, and returns those that are served.
func (n *node) admitted(t *testing.T) (served []net.Conn) {
	t.Helper()
	for range 50 {
		c, err := nettest.TryDial(n.listen)
		if err == nil {
			t.Cleanup(func() { c.Close() })
			c.SetDeadline(time.Now().Add(weirtest.Bound(5 * time.Second)))
			err = weirtest.PingPong(c)
		}
		if err != nil { // the reset may arrive before the dial returns
			require.Equal(t, nettest.Reset, nettest.StreamEndOf(err))
			return served
		}
		served = append(served, c)
	}
	t.Fatal("no client is rejected")
	return nil
}

// TestSessionsPerSourceAreDivided: each node admits its part, whichever has sessions of the source, and the part of a node that
// was killed passes to others only when an operator says so.
func TestSessionsPerSourceAreDivided(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	nodes := limitedListeners(t, host.Addr(), "max_sessions_per_source = 10")
	for _, n := range nodes {
		n.waitListenerPart(t, "half of the limit", func(part int) bool { return part == 5 })
	}
	for _, n := range nodes {
		require.Len(t, n.admitted(t), 5)
	}
	require.Contains(t, nodes[0].command(t, "fleet", "status"), "max_sessions_per_source")
	nodes[1].Kill()
	nodes[0].waitFleet(t, "the reserved part", func(f status.Fleet) bool { return f.Limits[0].Reserved["n2"] == 5 })
	require.Empty(t, nodes[0].admitted(t))
	nodes[0].command(t, "fleet", "forget", "n2")
	nodes[0].waitListenerPart(t, "the whole limit", func(part int) bool { return part == 10 })
	require.Len(t, nodes[0].admitted(t), 5, "beside those that it has")
}

// come opens short sessions at a node, one after the other, until stop is called.
func (n *node) come() (stop func()) {
	end, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-end:
				return
			case <-time.After(2 * time.Millisecond):
			}
			if c, err := net.DialTimeout("tcp", n.listen, 5*time.Second); err == nil {
				c.SetDeadline(time.Now().Add(5 * time.Second))
				c.Write([]byte("x"))
				io.ReadFull(c, make([]byte, 1))
				c.Close()
			}
		}
	}()
	return sync.OnceFunc(func() { close(end); <-done })
}

// TestSessionRateIsDivided: two nodes together admit no more than the rate, and one that is alone with clients gets most of it.
func TestSessionRateIsDivided(t *testing.T) {
	t.Parallel()
	const rate = 100
	host := nettest.Start(t, nettest.Echo)
	nodes := limitedListeners(t, host.Addr(), "max_session_rate = 100")
	for _, n := range nodes {
		n.waitListenerPart(t, "half of the rate", func(part int) bool { return part == rate/2 })
	}
	began := time.Now()
	stops := []func(){nodes[0].come(), nodes[1].come()}
	for _, stop := range stops {
		defer stop()
	}
	nettest.Wait(t, 60*time.Second, "clients", func() bool { return host.Accepted() > 2*rate })
	served, lasted := host.Accepted(), time.Since(began).Seconds()
	require.LessOrEqual(t, float64(served), rate*(lasted+1), "in %v s; each node may admit its part of a second at once", lasted)
	stops[1]()
	nodes[0].waitListenerPart(t, "most of the rate", func(part int) bool { return part >= 70 })
	nodes[1].waitListenerPart(t, "some room for the next session", func(part int) bool { return part > 0 && part <= 30 })
}
