package health_test

import (
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// Sessions of a server that its check finds down are reset within moments, or continue, as on_down says. Sessions of
// other servers are not affected, and new sessions use those.
func TestOnDown(t *testing.T) {
	t.Parallel()
	for _, onDown := range []string{"keep", "close"} {
		t.Run(onDown, func(t *testing.T) {
			t.Parallel()
			recA := &nettest.Recorder{Banner: "A"}
			a, b := nettest.Start(t, recA.Handle), nettest.Start(t, nettest.Greet("B", nettest.Echo))
			w, addr := weirtest.Serve(t, weirtest.Config{
				Cluster: fmt.Sprintf("on_down = %q", onDown), Checks: weirtest.PassingCheck,
				Levels: weirtest.OneLevel(a.Addr()+" name=A", b.Addr()+" name=B"),
			})
			var onA, onB []*net.TCPConn
			for len(onA) < 20 || len(onB) < 20 {
				c := nettest.Dial(t, addr)
				if weirtest.ReadByte(t, c) == "A" {
					onA = append(onA, c)
				} else {
					onB = append(onB, c)
				}
			}
			a.Down()
			w.WaitEvent("server_down", "A")
			down := time.Now()
			if onDown == "keep" {
				time.Sleep(200 * time.Millisecond)
			}
			for _, c := range onA {
				if onDown == "close" {
					_, end := nettest.ReadToEnd(c, 20*time.Second)
					require.Equal(t, nettest.Reset, end)
					require.Equal(t, "relay cut_server_down", w.SessionRecord(c).Termination())
				} else {
					require.NoError(t, weirtest.WriteText(c, "x"))
				}
			}
			if onDown == "close" {
				require.Less(t, nettest.Elapsed(down), weirtest.Bound(time.Second))
				nettest.Wait(t, weirtest.Bound(time.Second), "the server to see it", func() bool {
					cut := 0
					for _, v := range recA.Conns() {
						if v.End == nettest.Reset {
							cut++
						}
					}
					return cut >= len(onA)
				})
			}
			for _, c := range onB {
				require.NoError(t, weirtest.PingPong(c))
			}
			require.Equal(t, "B", weirtest.DialAndReadByte(t, addr))
			for _, c := range append(onA, onB...) {
				c.Close()
			}
		})
	}
}

// The file can set a server to drain or maint, and back to ready; its sessions continue, unless on_down closes them in
// maint.
func TestDrainAndMaintByReload(t *testing.T) {
	t.Parallel()
	hosts := map[string]*nettest.Host{}
	for _, name := range []string{"A", "B"} {
		hosts[name] = nettest.Start(t, nettest.Greet(name, nettest.Echo))
	}
	l := weirtest.Config{Listen: nettest.Reserve(t), Levels: [][]string{weirtest.WeightedLevel(hosts, "A B")}, Checks: weirtest.PassingCheck}
	w := weirtest.Start(t, l.String())
	put := func(state, onDown string) {
		l.Cluster = fmt.Sprintf("on_down = %q", onDown)
		l.Levels = [][]string{weirtest.WeightedLevel(hosts, "A=1,state="+state+" B")}
		w.Reload(l.String())
	}
	held := nettest.Dial(t, l.Listen)
	require.Equal(t, "A", weirtest.ReadByte(t, held))
	for _, state := range []string{"drain", "maint", "drain"} {
		put(state, "keep")
		for range 6 {
			require.Equal(t, "B", weirtest.DialAndReadByte(t, l.Listen))
		}
		require.NoError(t, weirtest.PingPong(held))
	}
	put("ready", "keep")
	require.Contains(t, []string{"AB", "BA"}, weirtest.DialAndReadByte(t, l.Listen)+weirtest.DialAndReadByte(t, l.Listen))
	put("drain", "close")
	require.NoError(t, weirtest.PingPong(held), "a drain cuts no session")
	put("maint", "close")
	_, end := nettest.ReadToEnd(held, 5*time.Second)
	require.Equal(t, nettest.Reset, end)
	require.Equal(t, "relay cut_server_down", w.SessionRecord(held).Termination())

	// A server in maintenance is not checked: its failure causes no event.
	hosts["A"].Down()
	checked := hosts["B"].Accepted()
	nettest.Wait(t, 15*time.Second, "some rounds of checks", func() bool { return hosts["B"].Accepted() >= checked+5 })
	hosts["A"].Up()
	put("ready", "close")
	require.Contains(t, []string{"AB", "BA"}, weirtest.DialAndReadByte(t, l.Listen)+weirtest.DialAndReadByte(t, l.Listen))
	require.Equal(t, []string{
		"server_state 1 A up→drain", "server_state 1 A drain→maint", "server_state 1 A maint→drain", "server_state 1 A drain→up",
		"server_state 1 A up→drain", "server_state 1 A drain→maint", "server_state 1 A maint→up",
	}, w.Events("server_state", "server_up", "server_down"))
}

// Received bytes of a session that is cut are delivered.
func TestCutDeliversWhatWasReceived(t *testing.T) {
	t.Parallel()
	const n = 100_000
	host := nettest.Start(t, nettest.Greet("A", nettest.Echo))
	l := weirtest.Config{Listen: nettest.Reserve(t), Cluster: "on_down = \"close\"", Levels: weirtest.OneLevel(host.Addr() + " name=A")}
	api := weirtest.NewAPI(t)
	w := weirtest.Start(t, api.AddTo(l.String()))
	c := nettest.Dial(t, l.Listen)
	require.Equal(t, "A", weirtest.ReadByte(t, c))
	_, err := c.Write(make([]byte, n))
	require.NoError(t, err)
	api.WaitSession(c, "that has sent the whole response", func(r weirtest.Record) bool { return r.Int("bytes_down") == n+1 })
	l.Levels = weirtest.OneLevel(host.Addr() + " name=A state=maint")
	w.Reload(api.AddTo(l.String()))
	r := w.SessionRecord(c)
	require.Equal(t, "relay cut_server_down", r.Termination())
	require.Equal(t, n+1, r.Int("bytes_down"))
}
