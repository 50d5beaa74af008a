package l4

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/balance"
	"weir/conf"
	"weir/internal/nettest"
)

// A new client sends three datagrams at once while the flow to evict belongs to another loop. One flow is evicted for it,
// not one for each datagram, and all three are served in order, also one that arrives when nothing more can be evicted.
func TestDatagramsOfPendingClientStayTogether(t *testing.T) {
	received := make(chan string, 8)
	host := nettest.StartDatagrams(t, func(_ netip.AddrPort, data []byte, _ func([]byte)) { received <- string(data) })
	plane, err := Open(Options{Loops: 2})
	require.NoError(t, err)
	defer plane.Close()
	target, err := NewTarget([]netip.AddrPort{netip.MustParseAddrPort(host.Addr())}, conf.Source{})
	require.NoError(t, err)
	cluster := balance.New(balance.Spec{Name: "c", Levels: []balance.LevelSpec{{MinUp: 1, Servers: []balance.ServerSpec{
		{Name: "s", Address: "s", Weight: 1, Handle: target},
	}}}}, 1, nil)
	set := &Settings{
		Name: "l", Cluster: cluster, ClusterName: "c", ConnectTimeout: time.Second, FlowTimeout: time.Minute, EvictFlows: true,
		Admission: Admission{State: NewAdmissionState(false, 64), MaxSessions: 2},
	}
	at := netip.MustParseAddrPort(nettest.ReserveDatagrams(t))
	ln, err := plane.ListenUDP(conf.Address{Addr: at, Port: at.Port()}, set, false)
	require.NoError(t, err)
	ln.Start()
	defer ln.Stop()

	onLoop := func(i int, do func(*loop, *udpSocket)) {
		done := make(chan struct{})
		plane.loops[i].post(message{do: func(l *loop) {
			l.eachUDPSocket(ln, func(u *udpSocket) { do(l, u) })
			close(done)
		}})
		<-done
	}
	send := func(l *loop, u *udpSocket, port uint16, text string) {
		l.udp.runs, l.udp.touched = l.udp.runs[:0], l.udp.touched[:0]
		key := makeFlowKey(&[16]byte{10: 0xff, 11: 0xff, 12: 127, 15: 1}, &[16]byte{}, port, 0)
		p := run{data: []byte(text), next: -1}
		if f := u.findOrStart(l, set, &key, nil, &p); f != nil {
			f.queueRun(l.udp, &p)
		}
		l.forwardAll()
	}
	await := func(text string) {
		select {
		case got := <-received:
			require.Equal(t, text, got)
		case <-time.After(5 * time.Second):
			t.Fatalf("%q does not arrive", text)
		}
	}

	onLoop(0, func(l *loop, u *udpSocket) { send(l, u, 1, "oldest") })
	await("oldest")
	onLoop(0, func(l *loop, u *udpSocket) { send(l, u, 2, "old") })
	await("old")
	blocked, release := make(chan struct{}), make(chan struct{})
	plane.loops[0].post(message{do: func(*loop) { close(blocked); <-release }})
	<-blocked
	onLoop(1, func(l *loop, u *udpSocket) {
		send(l, u, 3, "1")
		send(l, u, 3, "2")
		close(release)
		for plane.loops[0].live.Load() == 2 { // this loop admits no client before it returns from here
			time.Sleep(time.Millisecond)
		}
		onLoop(0, func(*loop, *udpSocket) {}) // loop 0 has done all that it was asked for
		send(l, u, 3, "3")
	})
	for _, text := range []string{"1", "2", "3"} {
		await(text)
	}
	require.EqualValues(t, 1, plane.loops[0].live.Load(), "one flow is evicted")
	require.EqualValues(t, 1, plane.loops[1].live.Load())
	require.Zero(t, ln.Rejected()[RejectedMaxFlows])
}
