package tcp_test

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// Of thousands of sessions with different timeouts due together, each ends at its own timeout: not before, and at most
// a tenth late.
func TestAllTimeoutsTogether(t *testing.T) { // alone: it measures time
	const wait = 2 * time.Second
	each := weirtest.Scaled(700)
	if weirtest.RaceEnabled {
		each = weirtest.Scaled(100)
	}
	silent := nettest.Start(t, nettest.Silent)
	dead := nettest.FullBacklog(t)
	kinds := []struct {
		end               string
		listener, cluster string
		server            string
		begin             func(c *net.TCPConn) // what the client does
		addr              string
	}{
		{end: "relay client_idle", listener: `client_idle_timeout = "2s"`, server: silent.Addr()},
		{end: "relay server_idle", cluster: `server_idle_timeout = "2s"`, server: silent.Addr()},
		{end: "relay half_close_timeout", listener: `half_close_timeout = "2s"`, server: silent.Addr(), begin: func(c *net.TCPConn) { c.CloseWrite() }},
		{end: "dial connect_timeout", cluster: "connect_timeout = \"2s\"\nmax_fails = 0", server: dead},
		{end: "dial try_timeout", cluster: "connect_timeout = \"20s\"\ntry_timeout = \"2s\"\nmax_fails = 0", server: dead},
		{end: "queue queue_timeout", cluster: "queue_timeout = \"2s\"\nmax_sessions = 1", server: silent.Addr()},
		{end: "proxy_header proxy_timeout", listener: "accept_proxy = true\ntrusted_proxies = [\"127.0.0.0/8\"]\nproxy_timeout = \"2s\"", server: silent.Addr()},
	}
	l := weirtest.Config{Listen: nettest.Reserve(t), Levels: weirtest.OneLevel(silent.Addr())}
	for i := range kinds {
		k := &kinds[i]
		k.addr = nettest.Reserve(t)
		table := strings.Replace(weirtest.ListenerTables(fmt.Sprintf("k%d", i), k.addr, k.server), "cluster =", k.listener+"\ncluster =", 1)
		l.More += strings.Replace(table, "[[cluster", k.cluster+"\n[[cluster", 1)
	}
	w := weirtest.Start(t, l.String())
	holder := nettest.Dial(t, kinds[5].addr) // has the only place in the queue's server
	nettest.Wait(t, 5*time.Second, "the place to be taken", func() bool { return silent.Open() == 1 })

	type outcome struct{ least, most time.Duration } // as seen from before and from after connecting, the latter without the machine's delays
	var mu sync.Mutex
	took := map[string][]outcome{}
	var clients, dialling sync.WaitGroup
	slots := make(chan int)
	for range 8 {
		dialling.Go(func() {
			for i := range slots {
				k := &kinds[i]
				before := time.Now()
				c, err := nettest.TryDial(k.addr)
				if err != nil {
					t.Errorf("%s: %v", k.end, err)
					continue
				}
				after := time.Now()
				if k.begin != nil {
					k.begin(c)
				}
				clients.Go(func() {
					defer c.Close()
					nettest.ReadToEnd(c, 20*time.Second)
					now := time.Now()
					mu.Lock()
					defer mu.Unlock()
					took[k.end] = append(took[k.end], outcome{now.Sub(before), nettest.Elapsed(after)})
				})
			}
		})
	}
	for range each {
		for i := range kinds {
			slots <- i
		}
	}
	close(slots)
	dialling.Wait()
	clients.Wait()
	holder.Close()
	for _, k := range kinds {
		late := 0
		for _, o := range took[k.end] {
			require.GreaterOrEqual(t, o.least, wait, k.end)
			weirtest.RequireLittleMore(t, wait, o.most)
			if o.most > wait+wait/10 {
				late++
			}
		}
		require.Len(t, took[k.end], each)
		var records []weirtest.Record
		nettest.Wait(t, 5*time.Second, "records", func() bool {
			records = w.Records(func(r weirtest.Record) bool { return r.Termination() == k.end })
			return len(records) == each
		})
		longest := 0
		for _, r := range records {
			longest = max(longest, r.Int("duration_ms"))
		}
		t.Logf("%s: the longest took %d ms by weir's clock; %d of %d were seen to end more than a tenth late", k.end, longest, late, each)
	}
	silent.Reset()
}
