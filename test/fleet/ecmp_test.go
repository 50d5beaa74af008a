// Several weirs behind a router with ECMP: a node that drains loses nothing, one that dies only what was on it.

package fleet_test

import (
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/fleetbed"
	"weir/internal/weirtest"
)

const rate = 220 // connections per second

// sessionsOn opens sessions until each node has at least one, and returns them by node.
func sessionsOn(t *testing.T, b *fleetbed.Bed) map[int][]net.Conn {
	t.Helper()
	on := map[int][]net.Conn{}
	for tries := 0; len(on) < len(b.Nodes); tries++ {
		require.Less(t, tries, 200, "the router uses only some of the nodes")
		c := b.Client.Dial(fleetbed.VIP + ":" + fleetbed.Port)
		require.NoError(t, weirtest.PingPong(c))
		for _, n := range b.Nodes {
			if hasSession(n, c) {
				on[n.Number] = append(on[n.Number], c)
			}
		}
	}
	return on
}

// hasSession reports whether a node serves a connection.
func hasSession(n *fleetbed.Node, c net.Conn) bool {
	for _, s := range n.API.Sessions() {
		if s.(map[string]any)["client"] == c.LocalAddr().String() {
			return true
		}
	}
	return false
}

// A graceful drain, BIRD and FRR: no connection of 200 and more per second fails, and every session continues.
func TestDrain(t *testing.T) {
	t.Parallel()
	b := fleetbed.New(t, "bird", "bird", "frr")
	b.ServeAll()
	sessions := sessionsOn(t, b)
	load := b.StartLoad(rate)
	load.Wait(rate)
	for _, n := range []*fleetbed.Node{b.Nodes[0], b.Nodes[2]} { // BIRD, FRR
		n.API.MustRunCommand("node", "drain")
		began := time.Now()
		b.WaitNextHops(without(b, n)...)
		t.Logf("node %d drained: router follows after %v", n.Number, time.Since(began).Round(time.Millisecond))
		load.Wait(rate)
		for _, list := range sessions {
			for _, c := range list {
				require.NoError(t, weirtest.PingPong(c))
			}
		}
		for _, c := range sessions[n.Number] {
			c.Close()
		}
		delete(sessions, n.Number)
		n.Weir.WaitNoSessions(n.API)
		n.Weir.Signal(15)
		require.Zero(t, n.Weir.WaitExit(weirtest.Bound(15*time.Second)))
		load.Wait(rate / 2)
		n.Serve(n.Config(""))
		b.WaitNextHops(b.Nodes...)
		load.Wait(rate / 2)
	}
	failed, text := load.Stop()
	t.Log(text)
	require.Empty(t, failed)
	closeAll(sessions)
}

func closeAll(sessions map[int][]net.Conn) {
	for _, list := range sessions {
		for _, c := range list {
			c.Close()
		}
	}
}

func without(b *fleetbed.Bed, gone *fleetbed.Node) (nodes []*fleetbed.Node) {
	for _, n := range b.Nodes {
		if n != gone {
			nodes = append(nodes, n)
		}
	}
	return nodes
}

// A node dies: its program, after which its service cleans up, and then a whole machine. Connections fail for at most a second, and
// sessions on other nodes continue.
func TestDeath(t *testing.T) {
	t.Parallel()
	b := fleetbed.New(t, "bird", "bird", "frr")
	b.ServeAll()
	for i, die := range []func(n *fleetbed.Node){
		func(n *fleetbed.Node) { n.Weir.Kill(); n.Clean() },
		func(n *fleetbed.Node) { n.SetLink("down") },
		func(n *fleetbed.Node) { n.Filter("drop") }, // only BFD finds it
	} {
		n := b.Nodes[i]
		sessions := sessionsOn(t, b)
		load := b.StartLoad(rate)
		load.Wait(rate / 2)
		died := time.Now()
		die(n)
		b.WaitNextHops(without(b, n)...)
		detected := time.Since(died)
		load.Wait(rate)
		failed, text := load.Stop()
		last := time.Duration(0)
		for _, f := range failed {
			last = max(last, f.Began.Sub(died))
			if f.Began.Sub(died) > detected {
				t.Logf("failed %v after the death: %v", f.Began.Sub(died), f.Err)
			}
		}
		t.Logf("node %d dies: the router follows after %v; %s, the last that failed began after %v", n.Number, detected.Round(time.Millisecond), text, last.Round(time.Millisecond))
		require.LessOrEqual(t, detected, weirtest.Bound(time.Second)) // BFD: 0.9 s
		require.LessOrEqual(t, last, detected+50*time.Millisecond)
		for number, list := range sessions {
			for _, c := range list {
				if number != n.Number {
					require.NoError(t, weirtest.PingPong(c), "a session of node %d", number)
				}
			}
		}
		closeAll(sessions)
		switch i {
		case 0:
			n.Serve(n.Config(""))
		case 1:
			n.SetLink("up")
			n.Exec("ip", "route", "replace", "default", "via", fmt.Sprintf("10.0.%d.1", n.Number))
		case 2:
			n.ClearFilter()
		}
		if i < 2 {
			b.WaitNextHops(b.Nodes...)
			for _, other := range b.Nodes {
				other.Weir.WaitNoSessions(other.API)
			}
		}
	}
}

// A node that does not reach the servers loses the address, and gets it again.
func TestNodeWithoutServers(t *testing.T) {
	t.Parallel()
	b := fleetbed.New(t, "bird", "frr")
	b.ServeAll()
	for _, n := range b.Nodes {
		n.Filter("ip saddr 10.0.100.2 drop")
		b.WaitNextHops(without(b, n)...)
		n.ClearFilter()
		b.WaitNextHops(b.Nodes...)
	}
}
