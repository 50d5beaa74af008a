// Sessions that come back to their listener.

package tcp_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// Two wildcard listeners lead to each other through addresses that the host got after the start. Each session ends
// instead of circling; another listener in front of a listener works.
func TestLoopOverTwoClusters(t *testing.T) {
	t.Parallel()
	ns := nettest.NewNamespace(t)
	host := ns.Start("127.0.0.1:9000", nettest.SendText("served"))
	var config strings.Builder
	config.WriteString("[admin]\nlisten = \"\"\n[log]\nformat = \"json\"\nsessions = \"all\"\n[runtime]\ndrain_timeout = \"1s\"\n")
	for i, server := range []string{"10.77.0.1:7001", "10.77.0.1:7000", "127.0.0.1:7003", host.Addr()} {
		fmt.Fprintf(&config, "[[listener]]\nname = \"l%d\"\naddress = \":%d\"\ncluster = \"c%[1]d\"\n[[cluster.c%[1]d.level]]\nservers = [%[3]q]\n", i, 7000+i, server)
	}
	a := weirtest.NewAPI(t)
	w := weirtest.Options{Namespace: ns}.Start(t, a.AddTo(config.String()))
	ns.Exec("ip", "addr", "add", "10.77.0.1", "dev", "lo")
	for range 5 {
		if c, err := ns.TryDial("127.0.0.1:7000"); err == nil { // else it was reset at once
			_, end := nettest.ReadToEnd(c, 10*time.Second)
			require.NotEqual(t, nettest.Timeout, end)
			c.Close()
		}
	}
	rejected := func() int {
		return len(w.Records(func(r weirtest.Record) bool { return r.IsEvent("session_refused") && r.Text("reason") == "loop" }))
	}
	nettest.Wait(t, 5*time.Second, "the rejections", func() bool { return rejected() > 0 })
	sessions := w.Records(func(r weirtest.Record) bool { return r.Termination() != "" })
	require.Less(t, len(sessions), 5*6)
	text, _ := nettest.ReadToEnd(ns.Dial("127.0.0.1:7002"), 10*time.Second)
	require.Equal(t, "served", string(text))
	reports := map[string]int{}
	for _, r := range w.Records(func(r weirtest.Record) bool {
		return strings.HasPrefix(r.Text("msg"), "connection rejected: it comes from")
	}) {
		reports[r.Text("listener")]++
	}
	require.NotEmpty(t, reports)
	for listener, n := range reports { // a connection that is accepted before its dial is registered comes back once more
		require.Equal(t, 1, n, listener)
	}
}
