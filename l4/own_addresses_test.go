package l4_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/balance"
	"weir/conf"
	"weir/internal/nettest"
	"weir/l4"
)

// listenFlows starts a UDP listener whose only server is at an address.
func listenFlows(t *testing.T, plane *l4.Plane, at, server string, admission l4.Admission, evict bool) *l4.Listener {
	t.Helper()
	target, err := l4.NewTarget([]netip.AddrPort{netip.MustParseAddrPort(server)}, conf.Source{})
	require.NoError(t, err)
	cluster := balance.New(balance.Spec{Name: "c", Levels: []balance.LevelSpec{{MinUp: 1, Servers: []balance.ServerSpec{
		{Name: "s", Address: "s", Weight: 1, Handle: target},
	}}}}, 1, nil)
	admission.State = l4.NewAdmissionState(false, 64)
	set := &l4.Settings{Name: at, Cluster: cluster, ClusterName: "c", ConnectTimeout: time.Second, FlowTimeout: time.Minute, Admission: admission, EvictFlows: evict}
	port := netip.MustParseAddrPort(at)
	ln, err := plane.ListenUDP(conf.Address{Addr: port, Port: port.Port()}, set, false)
	require.NoError(t, err)
	ln.Start()
	t.Cleanup(ln.Stop)
	return ln
}

// A datagram that a flow sends to a listener of the same process is dropped there, whichever loop gets it.
func TestDatagramOfOwnFlow(t *testing.T) {
	plane, err := l4.Open(l4.Options{Loops: 2})
	require.NoError(t, err)
	t.Cleanup(func() { plane.Close() })
	first, second := nettest.ReserveDatagrams(t), nettest.ReserveDatagrams(t)
	listenFlows(t, plane, first, second, l4.Admission{}, false)
	ln := listenFlows(t, plane, second, first, l4.Admission{}, false)
	const clients = 50
	for range clients {
		nettest.DialDatagrams(t, "", first).Send([]byte("x"))
	}
	nettest.Wait(t, 5*time.Second, "the drops", func() bool { return ln.Counters().Dropped[l4.DropLoop] == clients })
	require.Zero(t, ln.Counters().Sessions)
}

// Flows that are evicted in the batch that they began with have forwarded their datagrams before.
func TestFlowsEvictedInTheirBatch(t *testing.T) {
	host := nettest.StartDatagrams(t, nettest.EchoDatagram)
	plane, err := l4.Open(l4.Options{Loops: 1})
	require.NoError(t, err)
	t.Cleanup(func() { plane.Close() })
	at := nettest.ReserveDatagrams(t)
	ln := listenFlows(t, plane, at, host.Addr(), l4.Admission{MaxSessions: 3}, true)
	const clients, each = 40, 3
	var all []*nettest.DatagramClient
	for range clients {
		all = append(all, nettest.DialDatagrams(t, "", at))
	}
	for range each {
		for _, c := range all {
			c.Send([]byte("x"))
		}
	}
	nettest.Wait(t, 5*time.Second, "the datagrams", func() bool { return host.Received() == clients*each })
	require.Greater(t, ln.Counters().Sessions, uint64(clients))
}
