package fleet_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/status"
	"weir/internal/weirtest"
)

// countingServer ends sessions itself, after some time, and counts them: never more than it has.
type countingServer struct {
	*nettest.Host
	now, most atomic.Int64
	lifetime  time.Duration // mean
}

func startCountingServer(t *testing.T, lifetime time.Duration) *countingServer {
	s := &countingServer{lifetime: lifetime}
	s.Host = nettest.Start(t, func(_ context.Context, c *net.TCPConn) {
		n := s.now.Add(1)
		for old := s.most.Load(); n > old && !s.most.CompareAndSwap(old, n); old = s.most.Load() {
		}
		c.SetReadDeadline(time.Now().Add(lifetime/2 + rand.N(lifetime)))
		io.Copy(io.Discard, c) // until then, or until weir closes
		s.now.Add(-1)
		c.Close()
	})
	return s
}

// gate forwards connections to etcd, unless it is closed: then all bytes stay where they are.
type gate struct {
	net.Listener
	mu     sync.Mutex
	closed *sync.Cond
	shut   bool
}

func openGate(t *testing.T, to string) *gate {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	g := &gate{Listener: l}
	g.closed = sync.NewCond(&g.mu)
	t.Cleanup(func() { g.set(false); l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go g.forward(c, to)
		}
	}()
	return g
}

func (g *gate) set(shut bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = shut
	g.closed.Broadcast()
}

func (g *gate) wait() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.shut {
		g.closed.Wait()
	}
}

func (g *gate) forward(c net.Conn, to string) {
	g.wait()
	s, err := net.Dial("tcp", to)
	if err != nil {
		c.Close()
		return
	}
	pump := func(to, from net.Conn) {
		defer to.Close()
		buf := make([]byte, 64<<10)
		for {
			n, err := from.Read(buf)
			g.wait()
			if _, failed := to.Write(buf[:n]); err != nil || failed != nil {
				return
			}
		}
	}
	go pump(s, c)
	pump(c, s)
}

// clients keep a number of sessions at a node, as far as it admits them.
type clients struct {
	want atomic.Int64
	stop chan struct{}
	work sync.WaitGroup
}

func startClients(t *testing.T, addr string, most int) *clients {
	c := &clients{stop: make(chan struct{})}
	for i := range most {
		c.work.Go(func() {
			for {
				select {
				case <-c.stop:
					return
				default:
				}
				if int64(i) >= c.want.Load() {
					time.Sleep(20 * time.Millisecond)
					continue
				}
				began := time.Now()
				if conn, err := net.DialTimeout("tcp", addr, 2*time.Second); err == nil {
					conn.SetDeadline(time.Now().Add(10 * time.Second))
					io.Copy(io.Discard, conn)
					conn.Close()
				}
				time.Sleep(max(0, 20*time.Millisecond-time.Since(began))) // it was rejected
			}
		})
	}
	t.Cleanup(func() { c.end() })
	return c
}

func (c *clients) end() {
	select {
	case <-c.stop:
	default:
		close(c.stop)
	}
	c.work.Wait()
}

// limitedFleet starts three nodes that share max_sessions = 100 of one server, each behind a gate of its own.
func limitedFleet(t *testing.T, server, reserve string) (nodes []*node, gates []*gate) {
	etcd := nettest.StartEtcd(t, 1)
	nodes = fleetOf(t, etcd, 3, server)
	for _, n := range nodes {
		g := openGate(t, strings.TrimPrefix(etcd.URLs()[0], "http://"))
		gates = append(gates, g)
		n.config = strings.Replace(n.config, strings.TrimPrefix(etcd.URLs()[0], "http://"), g.Addr().String(), 1)
		n.config = strings.Replace(n.config, "ttl = \"5s\"", fmt.Sprintf("ttl = \"2s\"\nshare = [\"limits\"]\nlimit_reserve = %q", reserve), 1)
		n.config = strings.Replace(n.config, "[cluster.c]", "[cluster.c]\nmax_sessions = 100", 1)
		n.start(t)
	}
	for _, n := range nodes {
		n.waitFleet(t, "a part", func(f status.Fleet) bool { return len(f.Limits) == 1 && f.Limits[0].Part > 0 && f.Limits[0].Free == 0 })
	}
	return nodes, gates
}

func (n *node) part(t *testing.T) int { return n.fleet(t).Limits[0].Part }

// TestSessionsOfServerStayBelowLimit: three nodes with random load share a limit, while nodes lose the store, are stopped,
// reload and are upgraded. The server never has more sessions than the limit, and the load can use nearly all of it.
func TestSessionsOfServerStayBelowLimit(t *testing.T) {
	t.Parallel()
	server := startCountingServer(t, 300*time.Millisecond)
	nodes, gates := limitedFleet(t, server.Addr(), "30s")
	var load []*clients
	for _, n := range nodes {
		load = append(load, startClients(t, n.listen, 120))
	}
	faults := 5
	if weirtest.Campaign() {
		faults = 100
	}
	for i := range faults {
		for _, c := range load {
			c.want.Store(rand.Int64N(120))
		}
		at := rand.IntN(3)
		switch i % 5 {
		case 0, 3:
			gates[at].set(true)
			time.Sleep(500*time.Millisecond + rand.N(time.Second))
			gates[at].set(false)
		case 1:
			nodes[at].Signal(syscall.SIGSTOP)
			time.Sleep(rand.N(time.Second))
			nodes[at].Signal(syscall.SIGCONT)
		case 2:
			nodes[at].Upgrade()
		case 4:
			nodes[at].Reload(nodes[at].config + "\n# again\n")
			time.Sleep(time.Second)
		}
		require.LessOrEqual(t, server.most.Load(), int64(100))
	}
	for i, c := range load {
		c.want.Store([]int64{120, 0, 0}[i])
	}
	nettest.Wait(t, 60*time.Second, "one node to use nearly all", func() bool { return nodes[0].part(t) >= 88 && server.now.Load() >= 80 })
	for _, c := range load {
		c.want.Store(120)
	}
	nettest.Wait(t, 60*time.Second, "equal parts again", func() bool {
		for _, n := range nodes {
			if n.part(t) < 33 {
				return false
			}
		}
		return true
	})
	require.LessOrEqual(t, server.most.Load(), int64(100))
	for _, c := range load {
		c.end()
	}
}

// TestPartOfLostNode: the part of a node that was killed stays reserved until limit_reserve has passed; a node without the
// store ends its sessions before that.
func TestPartOfLostNode(t *testing.T) {
	t.Parallel()
	server := startCountingServer(t, time.Minute)
	nodes, gates := limitedFleet(t, server.Addr(), "6s")
	var load []*clients
	for _, n := range nodes {
		load = append(load, startClients(t, n.listen, 60))
		load[len(load)-1].want.Store(60)
	}
	nettest.Wait(t, 60*time.Second, "all sessions", func() bool { return server.now.Load() == 100 })
	gates[2].set(true) // n3 is cut off
	nodes[0].waitFleet(t, "a reserved part", func(f status.Fleet) bool { return f.Limits[0].Reserved["n3"] >= 33 })
	require.Contains(t, nodes[0].command(t, "fleet", "status"), "n3 33")
	nodes[0].waitFleet(t, "the end of the reserve", func(f status.Fleet) bool { return f.Limits[0].Part >= 48 })
	require.Zero(t, nodes[2].part(t))
	nodes[2].WaitEvents("limit_lost", 1)
	nodes[0].WaitEvents("node_gone", 1)
	nettest.Wait(t, 60*time.Second, "all sessions again", func() bool { return server.now.Load() == 100 })
	gates[2].set(false)
	require.LessOrEqual(t, server.most.Load(), int64(100))
	for _, c := range load {
		c.want.Store(0)
	}
	for _, n := range nodes {
		n.api.MustDo("DELETE /v1/clusters/c/servers/"+server.Addr()+"/sessions", "")
	}
	for _, c := range load {
		c.end()
	}
	nodes[2].waitFleet(t, "a part of the node that is back", func(f status.Fleet) bool { return f.Limits[0].Part > 0 })
}

// TestForgottenNode: with limit_reserve = 0 the part of a killed node stays reserved until an operator frees it.
func TestForgottenNode(t *testing.T) {
	t.Parallel()
	server := startCountingServer(t, time.Minute)
	nodes, _ := limitedFleet(t, server.Addr(), "0s")
	nodes[2].Kill()
	nodes[0].waitFleet(t, "a reserved part", func(f status.Fleet) bool { return f.Limits[0].Reserved["n3"] > 0 })
	var doc status.Document
	require.NoError(t, json.Unmarshal([]byte(nodes[0].api.MustDo("GET /v1/status", "")), &doc))
	require.Contains(t, fmt.Sprint(doc.Problems), "reserved for nodes that have left: n3")
	require.Contains(t, nodes[0].command(t, "fleet", "forget", "n3"), "freed")
	code, out := nodes[0].api.RunCommand("fleet", "forget", "n9")
	require.NotZero(t, code)
	require.Contains(t, out, "holds no parts")
	nettest.Wait(t, 60*time.Second, "the whole limit", func() bool { return nodes[0].part(t)+nodes[1].part(t) == 100 })
	require.Empty(t, nodes[1].fleet(t).Limits[0].Reserved)
	require.Contains(t, nodes[0].api.MustDo("GET /metrics", ""), fmt.Sprintf("weir_fleet_limit_part{kind=\"max_sessions\",of=\"c/%s\"} %d\n", server.Addr(), nodes[0].part(t)))
}
