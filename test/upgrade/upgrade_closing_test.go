package upgrade_test

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// The gentle closing of the sessions of a server, or of a cluster, that was removed before an upgrade goes on after it: a session
// that becomes quiet ends with a FIN, and the others are cut at close_deadline, counted from the removal.
func TestGentleRemovalContinuesInNewProcess(t *testing.T) {
	t.Parallel()
	for name, cluster := range map[string]bool{"server": false, "cluster": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			answer := make(chan struct{})
			leaves := nettest.Start(t, func(ctx context.Context, c *net.TCPConn) { // answers the first question late
				c.Write([]byte("A"))
				b := make([]byte, 1)
				if _, err := c.Read(b); err == nil && b[0] == 'q' {
					<-answer
					c.Write(b)
				}
				nettest.Discard(ctx, c)
			})
			stays := nettest.Start(t, nettest.Greet("B", nettest.Echo))
			more := nettest.Reserve(t)
			l := weirtest.Config{
				Listen: nettest.Reserve(t), Runtime: `drain_timeout = "1m"`, Cluster: "close_quiet = \"100ms\"\nclose_deadline = \"6s\"",
				Levels: weirtest.OneLevel(leaves.Addr()+" name=A", stays.Addr()+" name=B weight=0"),
			}
			without := l
			without.Levels = weirtest.OneLevel(stays.Addr() + " name=B")
			from := l.Listen
			if cluster {
				without, from = l, more
				l.More = "[[listener]]\nname = \"more\"\naddress = \"" + more + "\"\ncluster = \"more\"\n[cluster.more]\n" +
					"close_quiet = \"100ms\"\nclose_deadline = \"6s\"\n[[cluster.more.level]]\nservers = [\"" + leaves.Addr() + " name=A\"]\n"
			}
			api := weirtest.NewAPI(t)
			w := weirtest.Options{Program: weirtest.CopyProgram(t)}.Start(t, api.AddTo(l.String()))
			quiet, busy := nettest.Dial(t, from), nettest.Dial(t, from)
			for _, c := range []*net.TCPConn{quiet, busy} {
				require.Equal(t, "A", weirtest.ReadByte(t, c))
			}
			require.NoError(t, weirtest.WriteText(quiet, "q"))
			require.NoError(t, weirtest.WriteText(busy, "?"))
			nettest.Wait(t, 5*time.Second, "the questions to be forwarded", func() bool {
				n := 0
				for _, s := range api.Sessions() {
					if s.(map[string]any)["bytes_up"] == float64(1) {
						n++
					}
				}
				return n == 2
			})
			before := time.Now()
			w.Reload(api.AddTo(without.String()))
			removed := time.Now()
			nettest.Wait(t, 5*time.Second, "a part of the time", func() bool { return time.Since(removed) > time.Second })
			w.Upgrade()
			close(answer)
			require.Equal(t, "q", weirtest.ReadByte(t, quiet))
			_, end := nettest.ReadToEnd(quiet, 20*time.Second)
			require.Equal(t, nettest.EOF, end)
			require.Equal(t, "relay cut_server_removed", w.SessionRecord(quiet).Termination())
			_, end = nettest.ReadToEnd(busy, 20*time.Second)
			require.Equal(t, nettest.Reset, end)
			require.GreaterOrEqual(t, time.Since(before), 6*time.Second)
			require.Less(t, nettest.Elapsed(removed), 6*time.Second+weirtest.Bound(500*time.Millisecond))
			require.Equal(t, "relay cut_server_removed", w.SessionRecord(busy).Termination())
			w.Baseline = nil // a listener has left
		})
	}
}

// A session of a listener that has another cluster now keeps the age limit of its own cluster, and gets none of the other one.
func TestUpgradeKeepsAgeLimitOfOwnCluster(t *testing.T) {
	t.Parallel()
	echo := nettest.Start(t, nettest.Echo)
	old, young := nettest.Reserve(t), nettest.Reserve(t)
	const aged = "max_session_age = \"3s\"\nclose_quiet = \"10ms\"\n"
	config := func(of, ofYoung string) string {
		return "[admin]\nlisten = \"\"\n[log]\nformat = \"json\"\nsessions = \"all\"\n" +
			fmt.Sprintf("[[listener]]\nname = \"old\"\naddress = %q\ncluster = %q\n[[listener]]\nname = \"young\"\naddress = %q\ncluster = %q\n", old, of, young, ofYoung) +
			fmt.Sprintf("[cluster.aged]\n%s[[cluster.aged.level]]\nservers = [%q]\n[cluster.ageless]\n[[cluster.ageless.level]]\nservers = [%q]\n", aged, echo.Addr(), echo.Addr())
	}
	w := weirtest.Options{Program: weirtest.CopyProgram(t)}.Start(t, config("aged", "ageless"))
	w.Baseline = nil
	of, ofYoung := nettest.Dial(t, old), nettest.Dial(t, young)
	require.NoError(t, weirtest.PingPong(of))
	require.NoError(t, weirtest.PingPong(ofYoung))
	w.Reload(config("ageless", "aged"))
	w.Upgrade()
	w.WaitRecord(weirtest.Bound(20*time.Second), "the end by age", func(r weirtest.Record) bool {
		return r.Text("listener") == "old" && r.Text("reason") == "cut_age"
	})
	require.NoError(t, weirtest.PingPong(ofYoung))
}
