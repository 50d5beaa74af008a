package failover_test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// Scripted failovers with fake Sentinels, in any order, with lost notifications, and with a third Sentinel that lies, is
// silent or lags behind: new sessions reach the primary of the quorum, and no session remains on the old one.
func TestScriptedFailovers(t *testing.T) {
	t.Parallel()
	failovers := weirtest.Scaled(50)
	hosts := map[string]*nettest.Host{}
	names := []string{"A", "B", "C"}
	for _, name := range names {
		hosts[name] = nettest.Start(t, nettest.Greet(name, nettest.Discard))
	}
	var sentinels []*nettest.FakeSentinel
	var list string
	for range 3 {
		s := nettest.StartFakeSentinel(t, nettest.MasterName, nettest.SentinelAt(hosts["A"].Addr(), 1))
		sentinels = append(sentinels, s)
		list += fmt.Sprintf("%q, ", s.Addr())
	}
	w, addr, api := weirtest.ServeAPI(t, weirtest.Config{
		Levels: weirtest.OneLevel(weirtest.WeightedLevel(hosts, "A B C")...), Cluster: fmt.Sprintf(topologyRecipe, list) + "interval = \"200ms\"\ntimeout = \"200ms\"\n",
	})
	keepConnections(w, len(sentinels))
	nettest.Wait(t, 30*time.Second, "the subscriptions", func() bool {
		return !slices.ContainsFunc(sentinels, func(s *nettest.FakeSentinel) bool { return s.Subscribers() == 0 })
	})
	// open returns a session and the name of its server, "" if the session has been reset.
	open := func() (c *net.TCPConn, name string) {
		c, err := nettest.TryDial(addr)
		if err == nil {
			b := make([]byte, 1)
			c.SetReadDeadline(time.Now().Add(10 * time.Second))
			if _, err = c.Read(b); err == nil {
				return c, string(b)
			}
			c.Close()
		}
		require.Equal(t, nettest.Reset, nettest.StreamEndOf(err), "%v", err)
		return nil, ""
	}
	r := rand.New(rand.NewPCG(3, 4))
	primary := "A"
	var first, closed []time.Duration
	late := 0
	for i := 1; i <= failovers; i++ {
		var kept []*net.TCPConn
		for range 3 {
			c, name := open()
			require.Equal(t, primary, name)
			defer c.Close()
			kept = append(kept, c)
		}
		old := primary
		primary = names[(slices.Index(names, old)+1+r.IntN(2))%3]
		// For ten failovers, one Sentinel is the one that differs. It must answer before another one does.
		bad := i / 10 % 3
		if i%10 == 0 {
			recovered := sentinels[(bad+2)%3]
			asked := recovered.Asked()
			nettest.Wait(t, 30*time.Second, "the Sentinel to be asked again", func() bool { return recovered.Asked() >= asked+2 })
		}
		state, order := nettest.SentinelAt(hosts[primary].Addr(), uint64(1+i)), []int{(bad + 1) % 3, (bad + 2) % 3, bad}
		if r.IntN(2) == 0 {
			order[0], order[1] = order[1], order[0]
		}
		switch r.IntN(4) {
		case 0:
			sentinels[order[2]].Switch(nettest.SentinelAt(fmt.Sprintf("10.6.6.6:%d", 1000+i), uint64(r.IntN(1_000_000))))
		case 1:
			sentinels[order[2]].Set(nettest.SentinelState{Mute: true})
		}
		sentinels[order[0]].Switch(state)
		if r.IntN(3) == 0 {
			sentinels[order[1]].Set(state)
		} else {
			sentinels[order[1]].Switch(state)
		}
		switched := time.Now()
		for {
			begin := time.Now()
			c, name := open()
			if c == nil { // at the old primary, in the moment of the switch
				continue
			}
			c.Close()
			if name == primary {
				first = append(first, nettest.Elapsed(switched))
				break
			}
			require.Equal(t, old, name)
			if begin.Sub(switched) > grace+nettest.StalledSince(switched) {
				late++
			}
		}
		for _, c := range kept {
			_, end := nettest.ReadToEnd(c, 15*time.Second)
			require.Equal(t, nettest.Reset, end, "a session on the old primary")
		}
		closed = append(closed, nettest.Elapsed(switched))
		for range 3 {
			c, name := open()
			require.NotNil(t, c)
			c.Close()
			require.Equal(t, primary, name, "after the first session at the new primary")
		}
		if r.IntN(2) == 0 {
			sentinels[order[2]].Switch(state)
		} else {
			sentinels[order[2]].Set(state)
		}
	}
	t.Logf("%d scripted failovers: first session at the new primary after %v (median) and %v (p99), all sessions at the old one closed after %v (p99); %d late sessions",
		failovers, weirtest.Median(first), weirtest.Percentile(first, 99), weirtest.Percentile(closed, 99), late)
	require.Zero(t, late)
	require.LessOrEqual(t, weirtest.Percentile(first, 99), grace)
	require.Equal(t, "0", api.Metric(`weir_sessions_on_non_primary{cluster="c"}`))
	w.WaitEvents("primary_change", failovers+1)
	require.Len(t, w.Events("primary_change"), failovers+1)
}
