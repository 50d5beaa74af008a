package l4

import (
	"net/netip"
	"os"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/balance"
	"weir/conf"
	"weir/internal/nettest"
)

func TestMain(m *testing.M) { os.Exit(nettest.Run(m)) }

// testClock is a clock that moves only when a test moves it.
type testClock struct{ now atomic.Int64 }

func newTestClock() *testClock {
	c := new(testClock)
	c.now.Store(int64(time.Hour)) // 0 stands for never in a session
	return c
}

func (c *testClock) read() time.Duration { return time.Duration(c.now.Load()) }

// testPlane is a plane with one TCP listener on loopback.
type testPlane struct {
	*Plane
	t       *testing.T
	addr    string
	ln      *Listener
	cluster *balance.Cluster
	records chan Record
	clock   *testClock // nil = real time
}

// startPlane starts a plane that serves servers, in that order. adjust changes the listener's settings.
func startPlane(t *testing.T, clock *testClock, adjust func(*Settings), servers ...string) *testPlane {
	p := &testPlane{t: t, records: make(chan Record, 100), clock: clock}
	o := Options{Loops: 2, Record: func(r Record) { p.records <- r }}
	if clock != nil {
		o.Clock = clock.read
	}
	var err error
	p.Plane, err = Open(o)
	require.NoError(t, err)
	t.Cleanup(p.Close)
	level := balance.LevelSpec{MinUp: 1}
	for i, addr := range servers {
		target, err := NewTarget([]netip.AddrPort{netip.MustParseAddrPort(addr)}, conf.Source{})
		require.NoError(t, err)
		level.Servers = append(level.Servers, balance.ServerSpec{Name: strconv.Itoa(i), Address: addr, Weight: 1, Handle: target})
	}
	p.cluster = balance.New(balance.Spec{Name: "c", Levels: []balance.LevelSpec{level}}, 1, nil)
	set := &Settings{
		Name: "l", Cluster: p.cluster, ClusterName: "c", Records: RecordAll, Admission: Admission{State: NewAdmissionState(false, 64)},
		ConnectTimeout: 10 * time.Second, HalfClose: 30 * time.Second, ProxyTimeout: 5 * time.Second, SocketOptions: SocketOptions{Backlog: 128},
	}
	if adjust != nil {
		adjust(set)
	}
	at := netip.MustParseAddrPort(nettest.Reserve(t))
	p.ln, err = p.Listen(conf.Address{Addr: at, Port: at.Port()}, set, false)
	require.NoError(t, err)
	p.ln.Start()
	t.Cleanup(p.ln.Stop)
	p.addr = at.String()
	return p
}

// settle returns when every loop has handled the time and the events before the call.
func (p *testPlane) settle() {
	p.runOnLoops(func(*loop) {})
	p.runOnLoops(func(*loop) {})
}

// advance moves the clock and lets the loops handle the new time.
func (p *testPlane) advance(d time.Duration) {
	p.clock.now.Add(int64(d))
	p.settle()
}

// ended returns the record of the next session that ends, after checking that everything it held was released.
func (p *testPlane) ended() Record {
	p.t.Helper()
	select {
	case r := <-p.records:
		nettest.Wait(p.t, 5*time.Second, "all sessions to end", func() bool { return p.Sessions() == 0 })
		require.Zero(p.t, p.ln.Settings().Admission.State.Sessions())
		for _, s := range p.cluster.Snapshot(p.Now()).Levels[0].Servers {
			require.Zero(p.t, p.cluster.Server(s.Name).Sessions())
		}
		return r
	case <-time.After(10 * time.Second):
		p.t.Fatal("no session ended")
		panic("unreachable")
	}
}

// pipes returns how many pipes the loops have opened for splicing.
func (p *testPlane) pipes() (n int) {
	for _, c := range p.Counters() {
		n += c.Pipes
	}
	return n
}

// clientEnd connects, sends data and returns how the client's stream ended.
func clientEnd(addr string, data []byte) nettest.StreamEnd {
	c, err := nettest.TryDial(addr)
	if err != nil { // the reset can be faster than the return of connect
		return nettest.StreamEndOf(err)
	}
	defer c.Close()
	if len(data) > 0 { // even an empty write would take the error of a reset, and the read would see an end
		_, _ = c.Write(data)
	}
	_, end := nettest.ReadToEnd(c, 5*time.Second)
	return end
}

// waitEnd waits for a session to end while others go on.
func (p *testPlane) waitEnd() {
	p.t.Helper()
	select {
	case <-p.records:
		p.settle()
	case <-time.After(5 * time.Second):
		p.t.Fatal("no session ended")
	}
}
