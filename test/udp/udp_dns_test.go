// Real DNS servers behind weir; one is killed and restarted under load.

package udp_test

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

func TestUDPRealDNS(t *testing.T) {
	t.Parallel()
	first, second := nettest.ReserveDatagrams(t), nettest.ReserveDatagrams(t)
	server := nettest.StartDNS(t, first, "192.0.2.1")
	nettest.StartDNS(t, second, "192.0.2.2")
	l := weirtest.Config{Levels: weirtest.OneLevel(first, second), Listener: "responses = 1\nflow_timeout = \"4s\"", Cluster: "max_fails = 2\nfail_timeout = \"500ms\"",
		Checks: "[[cluster.c.check]]\ntype = \"udp\"\nsend = \"0x000101000001000000000000047765697204746573740000010001\"\nexpect = \"0xc0000202\"\ninterval = \"500ms\"\ntimeout = \"500ms\"\nservers = [\"" + second + "\"]\n"}.UDP(t)
	_, addr := weirtest.ServeUDP(t, l)
	const workers = 4
	var asked, lost atomic.Int64
	var seen [3]atomic.Int64
	done := make(chan struct{})
	var group weirtest.Group
	for i := range workers {
		c := nettest.DialDatagrams(t, "", addr)
		group.Go(func() error {
			for id := uint16(i); ; id += workers {
				select {
				case <-done:
					return nil
				default:
				}
				answer, err := nettest.QueryDNS(c, id, 3*time.Second)
				asked.Add(1)
				switch {
				case err == nil:
					seen[answer[len(answer)-1]-'0'].Add(1)
				case strings.Contains(err.Error(), "timeout"):
					lost.Add(1)
				default:
					return err
				}
				time.Sleep(500 * time.Microsecond)
			}
		})
	}
	more := func(what string, n *atomic.Int64) {
		before := n.Load()
		nettest.Wait(t, 20*time.Second, what, func() bool { return n.Load() > before+50 })
	}
	more("answers of the first", &seen[1])
	more("answers of the second", &seen[2])
	require.Zero(t, lost.Load())
	server.Kill()
	more("answers of the second alone", &seen[2])
	server.Up()
	more("answers of the first again", &seen[1])
	close(done)
	require.NoError(t, group.Wait())
	// Queries that the killed server had received get no response: at most one per client.
	require.LessOrEqual(t, int(lost.Load()), workers, "of %d", asked.Load())
}
