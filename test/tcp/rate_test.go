// Limits of the bytes per second of a session (max_rate_up, max_rate_down).

package tcp_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// burstOf returns how many bytes pass at once.
func burstOf(rate int64) int64 { return max(rate/10, 64<<10) }

// requirePaced runs transfers of n bytes until one takes as long as the rate says, up to a tenth more. None may take less. Only
// a machine that does not let weir run makes a transfer slower, so one that is in time is enough, and time for which weir waits
// for a processor does not count.
func requirePaced(t *testing.T, w *weirtest.Weir, n, rate int64, transfer func(t *testing.T)) {
	t.Helper()
	want := time.Duration(float64(n-burstOf(rate)) / float64(rate) * float64(time.Second))
	var took time.Duration
	for range 8 {
		begin, delay := time.Now(), w.Process().SchedulingDelay()
		transfer(t)
		whole := time.Since(begin)
		require.GreaterOrEqual(t, whole, want-time.Millisecond, "faster than the limit")
		if took = nettest.Elapsed(begin) - max(0, w.Process().SchedulingDelay()-delay); took <= want+want/10 {
			return
		}
		t.Logf("%v instead of %v; %v with the machine's own delays", took, want, whole)
	}
	t.Errorf("%v instead of %v", took, want)
}

// Each direction gets its rate, by small copies and by splice, on TCP and on unix sockets, with a FIN after the last byte.
func TestRateOfEachDirection(t *testing.T) {
	t.Parallel()
	const n, rate = 2 << 20, 1 << 20 // both ways
	down := nettest.Start(t, nettest.Send(5, n))
	up := nettest.Start(t, nettest.CountToEOF(0))
	echo := nettest.Start(t, nettest.Echo)
	socket := filepath.Join(weirtest.ShortTempDir(t), "l.sock")
	receive := func(addr string) func(*testing.T) {
		return func(t *testing.T) { require.NoError(t, nettest.Expect(nettest.Dial(t, addr), 5, n)) }
	}
	downWeir, down1 := weirtest.Serve(t, weirtest.Config{Listener: "max_rate_down = \"1M\"\nmax_rate_up = 1", Levels: weirtest.OneLevel(down.Addr())})
	upWeir, up1 := weirtest.Serve(t, weirtest.Config{Listener: "max_rate_up = \"1024K\"", Levels: weirtest.OneLevel(up.Addr())})
	bothWeir, both := weirtest.Serve(t, weirtest.Config{Listener: "max_rate_up = 1048576\nmax_rate_down = \"1g\"", Levels: weirtest.OneLevel(echo.Addr())})
	unixWeir, _ := weirtest.Serve(t, weirtest.Config{Listen: "unix:" + socket, Listener: "max_rate_down = \"1M\"", Levels: weirtest.OneLevel(down.Addr())})
	fastWeir, fast := weirtest.Serve(t, weirtest.Config{Listener: "max_rate_down = \"16M\"", Levels: weirtest.OneLevel(nettest.Start(t, nettest.Send(5, 16*n)).Addr())})
	redisWeir, redis := weirtest.Serve(t, weirtest.Config{Listener: "max_rate_up = \"1M\"", Cluster: "greeting = \"redis\"", Levels: weirtest.OneLevel(echo.Addr())})
	for _, c := range []struct {
		name     string
		weir     *weirtest.Weir
		n, rate  int64
		transfer func(*testing.T)
	}{
		{"down", downWeir, n, rate, receive(down1)},
		{"down, at a rate that is spliced", fastWeir, 16 * n, 16 * rate, func(t *testing.T) { require.NoError(t, nettest.Expect(nettest.Dial(t, fast), 5, 16*n)) }},
		{"up", upWeir, n, rate, func(t *testing.T) {
			c := nettest.Dial(t, up1)
			_, err := io.Copy(c, io.LimitReader(nettest.Pattern(1), n))
			require.NoError(t, err)
			require.NoError(t, c.CloseWrite())
			got, end := nettest.ReadToEnd(c, 30*time.Second)
			require.Equal(t, nettest.EOF, end)
			require.Equal(t, fmt.Sprint(n), string(got))
		}},
		{"echo", bothWeir, n, rate, func(t *testing.T) { require.NoError(t, nettest.Exchange(nettest.Dial(t, both), 3, n, 100_000)) }},
		{"what is kept for a server that may refuse counts too", redisWeir, n, rate, func(t *testing.T) {
			require.NoError(t, nettest.Exchange(nettest.Dial(t, redis), 3, n, 10_000))
		}},
		{"unix socket", unixWeir, n, rate, func(t *testing.T) { require.NoError(t, nettest.Expect(weirtest.DialUnix(t, socket), 5, n)) }},
	} {
		t.Run(c.name, func(t *testing.T) { requirePaced(t, c.weir, c.n, c.rate, c.transfer) })
	}
}

// One direction that is paused does not stop the other.
func TestRatesOfDirectionsAreIndependent(t *testing.T) {
	t.Parallel()
	const bulk = 16 << 20
	var got atomic.Int64
	host := nettest.Start(t, func(_ context.Context, c *net.TCPConn) {
		go io.Copy(c, io.LimitReader(nettest.Pattern(7), bulk))
		for buf := make([]byte, 4096); ; {
			n, err := c.Read(buf)
			if got.Add(int64(n)); err != nil {
				return
			}
		}
	})
	a := weirtest.NewAPI(t)
	config := weirtest.Config{Listen: nettest.Reserve(t), Listener: "max_rate_up = \"10K\"", Levels: weirtest.OneLevel(host.Addr())}
	w := weirtest.Start(t, a.AddTo(config.String()))
	require.EqualValues(t, 10<<10, a.Get("listeners", 0, "max_rate_up"))
	c := nettest.Dial(t, config.Listen)
	go io.Copy(c, io.LimitReader(nettest.Pattern(1), bulk))
	begin := time.Now()
	_, err := io.ReadFull(c, make([]byte, bulk))
	require.NoError(t, err)
	require.LessOrEqual(t, got.Load(), burstOf(10<<10)+int64(time.Since(begin).Seconds()*(10<<10))+1)

	// A reload changes new sessions only.
	config.Listener = ""
	w.Reload(a.AddTo(config.String()))
	unlimited := nettest.Dial(t, config.Listen)
	nettest.Wait(t, 20*time.Second, "the burst of the session with a limit", func() bool { return got.Load() >= burstOf(10<<10) })
	before := got.Load()
	go io.Copy(unlimited, io.LimitReader(nettest.Pattern(1), bulk))
	nettest.Wait(t, 20*time.Second, "the session without a limit", func() bool { return got.Load() >= before+bulk })
	require.LessOrEqual(t, got.Load()-bulk, burstOf(10<<10)+int64(time.Since(begin).Seconds()*(10<<10))+1)

	// The drain timeout of a stop ends the paced session, whatever waits.
	config.Runtime = "drain_timeout = \"1s\""
	w.Reload(a.AddTo(config.String()))
	unlimited.Close()
	begin = time.Now()
	w.Signal(syscall.SIGTERM)
	require.Equal(t, 3, w.WaitExit(weirtest.Bound(5*time.Second)))
	require.Less(t, nettest.Elapsed(begin), weirtest.Bound(3*time.Second))
	require.Equal(t, "relay cut_shutdown", w.SessionRecord(c).Termination())
}

// A burst passes at once, and what follows is paced, for longer than the idle timeouts. A reset and urgent data pass too.
func TestBurstThenPauses(t *testing.T) {
	t.Parallel()
	const burst = 64 << 10
	for _, c := range []struct {
		name string
		n    int
		host nettest.Handler
		end  nettest.StreamEnd
	}{
		{"FIN", burst + 4096, nettest.Send(0, burst+4096), nettest.EOF},
		{"reset", 100_000, nettest.ResetWhenTaken(100_000, 50*time.Millisecond), nettest.Reset},
		{"urgent byte", 2*33_000 + 1, func(_ context.Context, c *net.TCPConn) {
			urgently(c, make([]byte, 33_000))
			nettest.ReadToEnd(c, 20*time.Second)
		}, nettest.EOF},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, addr := weirtest.Serve(t, weirtest.Config{
				Listener: "max_rate_down = \"1K\"\nclient_idle_timeout = \"3s\"\nhalf_close_timeout = \"3s\"", Levels: weirtest.OneLevel(nettest.Start(t, c.host).Addr()),
			})
			conn, begin := nettest.Dial(t, addr), time.Now()
			_, err := io.ReadFull(conn, make([]byte, burst))
			require.NoError(t, err)
			require.Less(t, nettest.Elapsed(begin), weirtest.Bound(4*time.Second), "64 seconds' bytes")
			require.NoError(t, conn.CloseWrite())
			rest, end := nettest.ReadToEnd(conn, 30*time.Second)
			require.Equal(t, c.end, end)
			require.Len(t, rest, c.n-burst)
			if c.end == nettest.EOF {
				require.GreaterOrEqual(t, time.Since(begin), time.Duration(c.n-burst)*time.Second/1024-time.Millisecond)
			} else {
				require.Less(t, nettest.Elapsed(begin), weirtest.Bound(5*time.Second), "34 seconds' bytes")
			}
		})
	}
}

// Paced sessions do not keep a loop busy.
func TestPacedSessionsUseLittleCPU(t *testing.T) {
	t.Parallel()
	const sessions, n = 20, 400_000
	host := nettest.Start(t, nettest.Send(5, n))
	w, addr := weirtest.Serve(t, weirtest.Config{Listener: "max_rate_down = 100_000", Levels: weirtest.OneLevel(host.Addr())})
	cpu, begin := w.Process().CPUTime(t), time.Now()
	done := make(chan error, sessions)
	for range sessions {
		c := nettest.Dial(t, addr)
		go func() { done <- nettest.Expect(c, 5, n) }()
	}
	for range sessions {
		require.NoError(t, <-done)
	}
	used, took := w.Process().CPUTime(t)-cpu, time.Since(begin)
	t.Logf("%d sessions: %v of CPU time in %v", sessions, used, took)
	require.Less(t, used, took/5)
}

// Each of a hundred sessions gets its rate within 5 % over a second and a half, after the burst, and the loops do not spin. On a
// machine with other work only the limit is exact: a campaign requires both bounds.
func TestRatesOfManySessions(t *testing.T) {
	t.Parallel()
	const sessions, rate, burst = 100, 200_000, 64 << 10
	host := nettest.Start(t, func(_ context.Context, c *net.TCPConn) { io.Copy(c, nettest.Pattern(5)) })
	w, addr := weirtest.Serve(t, weirtest.Config{Listener: fmt.Sprintf("max_rate_down = %d", rate), Levels: weirtest.OneLevel(host.Addr())})
	cpu, began := w.Process().CPUTime(t), time.Now()
	type measured struct{ overall, paced float64 } // of the rate: after the connect and without the burst, and once the burst had arrived
	rates := make(chan measured, sessions)
	for range sessions {
		from := time.Now()
		c := nettest.Dial(t, addr)
		go func() {
			defer nettest.Abort(c)
			n, buf := 0, make([]byte, 256<<10)
			var paced time.Time
			first := 0
			for paced.IsZero() || time.Since(paced) < 1500*time.Millisecond {
				got, err := c.Read(buf)
				if n += got; err != nil {
					rates <- measured{}
					return
				}
				if paced.IsZero() && n >= burst+rate/20 {
					paced, first = time.Now(), n
				}
			}
			rates <- measured{float64(n-burst) / time.Since(from).Seconds() / rate, float64(n-first) / time.Since(paced).Seconds() / rate}
		}()
	}
	least, most := 2.0, 0.0
	for range sessions {
		r := <-rates
		least, most = min(least, r.paced), max(most, r.overall)
	}
	used, took := w.Process().CPUTime(t)-cpu, time.Since(began)
	t.Logf("%d sessions: %.3f to %.3f of the rate, %v of CPU time in %v", sessions, least, most, used, took)
	require.Less(t, used, took/2)
	require.LessOrEqual(t, most, 1.001)
	if weirtest.Campaign() {
		require.Greater(t, least, 0.95)
	}
	require.Positive(t, least)
}
