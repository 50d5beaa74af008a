package l4_test

import (
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/balance"
	"weir/conf"
	"weir/internal/nettest"
	"weir/l4"
)

// A server with several addresses is reached at the first one that does not refuse, in one attempt.
func TestFlowTriesEveryAddress(t *testing.T) {
	host := nettest.StartDatagrams(t, nettest.EchoDatagram)
	dead := netip.MustParseAddrPort(nettest.ReserveDatagrams(t))
	records := make(chan l4.Record, 1)
	plane, err := l4.Open(l4.Options{Loops: 1, Record: func(r l4.Record) { records <- r }})
	require.NoError(t, err)
	defer plane.Close()
	target, err := l4.NewTarget([]netip.AddrPort{dead, netip.MustParseAddrPort(host.Addr())}, conf.Source{})
	require.NoError(t, err)
	stats := plane.NewServerStats()
	target.SetStats(stats)
	cluster := balance.New(balance.Spec{Name: "c", Levels: []balance.LevelSpec{{MinUp: 1, Servers: []balance.ServerSpec{
		{Name: "s", Address: "s", Weight: 1, MaxFails: 1, FailTimeout: time.Minute, Handle: target},
	}}}}, 1, nil)
	set := &l4.Settings{
		Name: "l", Cluster: cluster, ClusterName: "c", Records: l4.RecordAll, ConnectTimeout: time.Second, FlowTimeout: 500 * time.Millisecond,
		Admission: l4.Admission{State: l4.NewAdmissionState(false, 64)},
	}
	at := netip.MustParseAddrPort(nettest.ReserveDatagrams(t))
	ln, err := plane.ListenUDP(conf.Address{Addr: at, Port: at.Port()}, set, false)
	require.NoError(t, err)
	ln.Start()
	defer ln.Stop()
	c := nettest.DialDatagrams(t, "", at.String())
	require.Equal(t, "hello", c.RoundTrip("hello"))
	require.Equal(t, "again", c.RoundTrip("again"))
	r := <-records
	require.Equal(t, l4.ReasonFlowTimeout, r.Reason)
	require.Equal(t, 1, r.Attempts)
	require.Equal(t, c.LocalAddr().(*net.UDPAddr).AddrPort(), r.Client)
	require.EqualValues(t, len("helloagain"), r.BytesUp)
	require.EqualValues(t, len("helloagain"), r.BytesDown)
	require.Zero(t, stats.Counters().DialFails)
	require.Zero(t, cluster.Server("s").Sessions())
}

// At the deadline of a drain a flow moves to another server with its next datagram. The reply to the datagram before it is
// delivered.
func TestFlowLeavesDrainingServer(t *testing.T) {
	answer := make(chan func(), 1)
	late := nettest.StartDatagrams(t, func(_ netip.AddrPort, data []byte, reply func([]byte)) {
		copied := slices.Clone(data)
		answer <- func() { reply(copied) }
	})
	other := nettest.StartDatagrams(t, nettest.EchoDatagram)
	plane, err := l4.Open(l4.Options{Loops: 1})
	require.NoError(t, err)
	defer plane.Close()
	level := balance.LevelSpec{MinUp: 1}
	for name, host := range map[string]*nettest.DatagramHost{"a": late, "b": other} {
		target, err := l4.NewTarget([]netip.AddrPort{netip.MustParseAddrPort(host.Addr())}, conf.Source{})
		require.NoError(t, err)
		level.Servers = append(level.Servers, balance.ServerSpec{Name: name, Address: name, Weight: 1, Handle: target})
	}
	cluster := balance.New(balance.Spec{Name: "c", Levels: []balance.LevelSpec{level}}, 1, nil)
	cluster.SetOverride("b", balance.Override{State: new(balance.Drain)}, plane.Now())
	set := &l4.Settings{
		Name: "l", Cluster: cluster, ClusterName: "c", ConnectTimeout: time.Second, FlowTimeout: 5 * time.Second, Drain: time.Hour,
		Admission: l4.Admission{State: l4.NewAdmissionState(false, 64)},
	}
	at := netip.MustParseAddrPort(nettest.ReserveDatagrams(t))
	ln, err := plane.ListenUDP(conf.Address{Addr: at, Port: at.Port()}, set, false)
	require.NoError(t, err)
	ln.Start()
	defer ln.Stop()
	c := nettest.DialDatagrams(t, "", at.String())
	c.Send([]byte("1"))
	reply := <-answer
	cluster.SetOverride("b", balance.Override{}, plane.Now())
	cluster.SetOverride("a", balance.Override{State: new(balance.Drain)}, plane.Now())
	require.Equal(t, 1, plane.Cut(func(id l4.SessionIdentity) bool { return id.Server == cluster.Server("a") }, l4.ReasonCutDrain))
	require.Equal(t, "2", c.RoundTrip("2"))
	reply()
	data, ok := c.Receive(5 * time.Second)
	require.True(t, ok)
	require.Equal(t, "1", string(data))
	require.Equal(t, 1, cluster.Server("b").Sessions())
	require.Zero(t, cluster.Server("a").Sessions())
}
