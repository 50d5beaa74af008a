package upgrade_test

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// Held sessions move to the new process, keep their order and their time, and are served there when the server returns.
func TestHeldSessionsMoveToNewProcess(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	order := map[int]string{} // the first bytes of sessions, by the number of the accepted connection
	host := nettest.Start(t, func(ctx context.Context, c *net.TCPConn) {
		b := make([]byte, 1)
		if _, err := c.Read(b); err == nil {
			mu.Lock()
			order[nettest.AcceptedNumber(ctx)] = string(b)
			mu.Unlock()
			c.Write(b)
		}
		nettest.Echo(ctx, c)
	})
	config := weirtest.Config{Listen: nettest.Reserve(t), Cluster: "hold_timeout = \"1m\"\nrelease_rate = 2", Levels: weirtest.OneLevel(host.Addr() + " name=A")}
	a := weirtest.NewAPI(t)
	w := weirtest.Start(t, a.AddTo(config.String()))
	a.MustDo("PATCH /v1/clusters/c/servers/A", `{"state": "maint"}`)
	var clients []*net.TCPConn
	hold := func() {
		c := nettest.Dial(t, config.Listen)
		require.NoError(t, weirtest.WriteText(c, fmt.Sprint(len(clients))))
		a.WaitPhase(c, "hold")
		clients = append(clients, c)
	}
	for range 4 {
		hold()
	}
	leaves := nettest.Dial(t, config.Listen)
	a.WaitPhase(leaves, "hold")
	w.Upgrade()
	hold()
	nettest.Abort(leaves)
	require.Equal(t, "hold client_reset", w.SessionRecord(leaves).Termination())
	nettest.Wait(t, weirtest.Bound(5*time.Second), "all held sessions", func() bool { return a.Metric(`weir_cluster_held_sessions{cluster="c"}`) == "5" })
	require.Equal(t, "6", a.Metric(`weir_sessions_held_total{cluster="c"}`))
	a.MustDo("PATCH /v1/clusters/c/servers/A", `{"state": null}`)
	for i, c := range clients {
		require.Equal(t, fmt.Sprint(i), weirtest.ReadByte(t, c))
	}
	mu.Lock()
	require.Equal(t, map[int]string{1: "0", 2: "1", 3: "2", 4: "3", 5: "4"}, order)
	mu.Unlock()
	require.Equal(t, "5", a.Metric(`weir_sessions_held_ended_total{cluster="c",outcome="connected"}`))
	require.NoError(t, weirtest.PingPong(nettest.Dial(t, config.Listen)))
}

// hold_timeout counts from the start of the hold in the old process.
func TestHoldTimeoutContinuesInNewProcess(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	config := weirtest.Config{Listen: nettest.Reserve(t), Cluster: "hold_timeout = \"3s\"", Levels: weirtest.OneLevel(host.Addr() + " name=A state=maint")}
	a := weirtest.NewAPI(t)
	w := weirtest.Start(t, a.AddTo(config.String()))
	begin := time.Now()
	c := nettest.Dial(t, config.Listen)
	a.WaitPhase(c, "hold")
	w.Upgrade()
	_, end := nettest.ReadToEnd(c, 20*time.Second)
	weirtest.RequireBetween(t, 3*time.Second, time.Since(begin))
	require.Equal(t, nettest.Reset, end)
	r := w.SessionRecord(c)
	require.Equal(t, "hold hold_timeout", r.Termination())
	require.Equal(t, w.UpgradeRecords()[0].Int("pid"), a.PID())
}
