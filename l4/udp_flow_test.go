package l4_test

import (
	"net"
	"net/netip"
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
