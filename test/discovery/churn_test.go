package discovery_test

import (
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// pings exchanges one byte on a connection again and again until stop, and returns how long each exchange took.
func pings(c net.Conn, stop *atomic.Bool) <-chan []time.Duration {
	result := make(chan []time.Duration, 1)
	go func() {
		var took []time.Duration
		for !stop.Load() {
			begin := time.Now()
			if weirtest.PingPong(c) != nil {
				break
			}
			took = append(took, time.Since(begin))
			time.Sleep(2 * time.Millisecond)
		}
		result <- took
	}()
	return result
}

// 1,000 servers of which a tenth changes ten times a second: sessions keep their latency, no session fails, and memory stays flat.
func TestThousandServersChange(t *testing.T) {
	host := nettest.Start(t, nettest.Echo)
	_, free, err := net.SplitHostPort(nettest.Reserve(t))
	require.NoError(t, err)
	port := nettest.StartAt(t, "0.0.0.0:"+free, nettest.Echo).AddrPort().Port() // all servers
	const servers, changed = 1000, 100
	list := func(turn int) (targets []string) {
		for i := range servers {
			n := i
			if i < changed {
				n = servers + i + turn%7*changed // seven sets of servers take turns
			}
			targets = append(targets, fmt.Sprintf("127.1.%d.%d:%d", n>>8, n&255, port))
		}
		return targets
	}
	l := newList(t)
	l.write(group(list(0)))
	other := nettest.Reserve(t)
	config := found(l.keys())
	config.Runtime = "drain_timeout = \"1s\"\n"
	config.More = weirtest.ListenerTables("other", other, host.Addr())
	w, listen, a := weirtest.ServeAPI(t, config)
	load := weirtest.StartLoad(t, listen, 1, 0)
	through, direct := nettest.Dial(t, other), nettest.Dial(t, host.Addr())
	turn := 0
	churn := func(turns int) {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for range turns {
			<-tick.C
			turn++
			l.write(group(list(turn)))
		}
	}
	churn(20) // all sets have been seen
	before := w.Process().RSS(t)
	var calm, stop atomic.Bool
	without := pings(through, &calm)
	time.Sleep(2 * time.Second)
	calm.Store(true)
	usual := weirtest.Percentile(<-without, 99)
	weir, relay := pings(through, &stop), pings(direct, &stop)
	churn(weirtest.Scaled(50))
	stop.Store(true)
	ours, theirs := weirtest.Percentile(<-weir, 99), weirtest.Percentile(<-relay, 99)
	load.Stop()
	t.Logf("p99 of an exchange: %v through weir, %v before the changes, %v directly; %s changes applied", ours, usual, theirs, a.Metric(`weir_discovery_changes_total{cluster="c",level="1",type="file"}`))
	require.Less(t, ours, weirtest.Bound(3*max(usual, theirs)+5*time.Millisecond))
	weirtest.RequireGrowth(t, w, before, 24<<20)
	through.Close()
	direct.Close()
	nettest.Wait(t, weirtest.Bound(5*time.Second), "the last list", func() bool { return a.Server(list(turn)[0]) != nil })
}
