package tcp_test

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// A client that reads slowly while its session is cut gets all received bytes and then the reset.
func TestCutWaitsForSlowReader(t *testing.T) {
	t.Parallel()
	const n = 1 << 20
	host := nettest.Start(t, nettest.Greet(strings.Repeat("x", n), nettest.Silent))
	_, addr, a := weirtest.ServeAPI(t, weirtest.Config{Levels: weirtest.OneLevel(host.Addr() + " name=A")})
	c := nettest.Dial(t, addr)
	nettest.Wait(t, 5*time.Second, "the bytes in weir's hands", func() bool { return bytesDown(a) == n })
	a.MustDo("DELETE /v1/clusters/c/servers/A/sessions", "")
	got := 0
	for buf := make([]byte, 64<<10); ; time.Sleep(10 * time.Millisecond) {
		k, err := c.Read(buf)
		got += k
		if err != nil {
			require.Equal(t, nettest.Reset, nettest.StreamEndOf(err))
			break
		}
	}
	require.Equal(t, n, got)
}

// A client that reads nothing for a while after the cut, or whose acknowledgements take as long, gets all received
// bytes and then the reset: at a cut and at the drain deadline of a stop.
func TestCutWaitsForPausingReader(t *testing.T) {
	t.Parallel()
	const n = 1 << 20
	for _, stop := range []bool{false, true} {
		host := nettest.Start(t, nettest.Greet(strings.Repeat("x", n), nettest.Silent))
		w, addr, a := weirtest.ServeAPI(t, weirtest.Config{Runtime: `drain_timeout = "10ms"`, Levels: weirtest.OneLevel(host.Addr() + " name=A")})
		c := nettest.Dial(t, addr)
		nettest.Wait(t, 5*time.Second, "the bytes in weir's hands", func() bool { return bytesDown(a) == n })
		if stop {
			w.Signal(syscall.SIGTERM)
		} else {
			a.MustDo("DELETE /v1/clusters/c/servers/A/sessions", "")
		}
		time.Sleep(300 * time.Millisecond) // it is cut if nothing is acknowledged for a second
		data, end := nettest.ReadToEnd(c, 10*time.Second)
		require.Equal(t, nettest.Reset, end)
		require.Len(t, data, n)
		if stop {
			require.Equal(t, 3, w.WaitExit(15*time.Second))
		}
	}
}

// Neither a client that does not read nor one that never stops reading delays a cut, even if the session was ending
// already.
func TestCutIsBounded(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		server nettest.Handler
		phase  string        // at the cut
		pause  time.Duration // between reads; 0 = does not read
		within time.Duration
		end    string
	}{
		"idle":             {nettest.Greet(strings.Repeat("x", 1<<20), nettest.Silent), "relay", 0, 2 * time.Second, "relay cut_operator"},
		"after a reset":    {nettest.ResetAfter(2<<20, 300*time.Millisecond), "abort", 0, 2 * time.Second, "relay server_reset"},
		"reading too slow": {nettest.ResetAfter(2<<20, 300*time.Millisecond), "abort", 50 * time.Millisecond, 8 * time.Second, "relay server_reset"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			host := nettest.Start(t, c.server)
			w, addr, a := weirtest.ServeAPI(t, weirtest.Config{Levels: weirtest.OneLevel(host.Addr() + " name=A")})
			client := nettest.Dial(t, addr)
			nettest.Wait(t, 5*time.Second, "bytes in weir's hands", func() bool {
				return bytesDown(a) >= 1<<20 && strings.Contains(a.MustDo("GET /v1/sessions", ""), c.phase)
			})
			if c.pause > 0 {
				go func() {
					for buf := make([]byte, 32<<10); ; time.Sleep(c.pause) {
						if _, err := client.Read(buf); err != nil {
							return
						}
					}
				}()
			}
			cut := time.Now()
			a.MustDo("DELETE /v1/clusters/c/servers/A/sessions", "")
			w.WaitNoSessions(a)
			if !weirtest.RaceEnabled {
				require.Less(t, nettest.Elapsed(cut), c.within)
			}
			require.Equal(t, c.end, w.SessionRecord(client).Termination())
		})
	}
}

// bytesDown returns the number of bytes sent to clients.
func bytesDown(a weirtest.API) int { return int(a.Get("listeners", 0, "bytes_down").(float64)) }
