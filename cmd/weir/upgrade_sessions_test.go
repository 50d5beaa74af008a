// Sessions that live through upgrades.

package main_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
)

// steady is a session with an echo that goes on and on: known bytes up, the same down, a piece at a time.
func steady(c net.Conn, seed uint64, pause time.Duration, stop chan struct{}) error {
	defer c.Close()
	up, down := nettest.Pattern(seed), nettest.Pattern(seed)
	piece, got, want := make([]byte, 3000), make([]byte, 3000), make([]byte, 3000)
	for n := 0; ; n++ {
		select {
		case <-stop:
			return nil
		case <-time.After(pause):
		}
		io.ReadFull(up, piece)
		c.SetDeadline(time.Now().Add(20 * time.Second))
		if _, err := c.Write(piece); err != nil {
			return fmt.Errorf("piece %d: %w", n, err)
		}
		if _, err := io.ReadFull(c, got); err != nil {
			return fmt.Errorf("piece %d: %w", n, err)
		}
		io.ReadFull(down, want)
		if !bytes.Equal(got, want) {
			return fmt.Errorf("piece %d: %w", n, nettest.ErrCorrupt)
		}
	}
}

// slow reads so much at a time.
type slow struct {
	net.Conn
	n     int
	pause time.Duration
}

func (s *slow) Read(p []byte) (int, error) {
	time.Sleep(s.pause)
	return s.Conn.Read(p[:min(len(p), s.n)])
}

// Upgrade after upgrade under load: no connection fails, no session breaks, no byte is lost, repeated or moved, whatever
// waits in buffers and pipes; and there is one process at the end, with as many descriptors as the first.
func TestUpgradesUnderLoad(t *testing.T) {
	const bulk = 12 << 20
	echo := nettest.Start(t, nettest.Echo)
	duplex := &nettest.Duplex{}
	double := nettest.Start(t, duplex.Handle)
	sends := nettest.Start(t, nettest.Send(77, bulk))
	socket := filepath.Join(shortDir(t), "l.sock")
	both, fast := nettest.Reserve(t), nettest.Reserve(t)
	l := layout{
		listen: nettest.Reserve(t), levels: servers(echo.Addr()),
		more: pair("both", both, double.Addr()) + pair("sends", fast, sends.Addr()) + pair("local", "unix:"+socket, echo.Addr()),
	}
	a := newAPI(t)
	w := launch{program: program(t)}.start(t, a.at(l.String()))

	stop := make(chan struct{})
	var wg sync.WaitGroup
	var broken atomic.Int64
	check := func(what string, err error) {
		if err != nil && broken.Add(1) < 10 {
			t.Errorf("%s: %v", what, err)
		}
	}
	many := scaled(300)
	for i := range many {
		var c net.Conn = nettest.Dial(t, l.listen)
		if i%10 == 0 {
			var err error
			c.Close()
			c, err = net.Dial("unix", socket)
			require.NoError(t, err)
		}
		wg.Go(func() { check("steady", steady(c, uint64(i), time.Duration(100+i%200)*time.Millisecond, stop)) })
	}
	// Slow readers, for whom bytes wait in buffers and pipes; some with their own side closed already.
	for i := range 8 {
		c := nettest.Dial(t, fast)
		if i%2 == 0 {
			require.NoError(t, c.CloseWrite())
		}
		wg.Go(func() {
			check("slow reader", nettest.Expect(&slow{c, 128 << 10, 30 * time.Millisecond}, 77, bulk))
			c.Close()
		})
	}
	// Streams in both directions, one after the other, neither side waiting for the other.
	for i := range 4 {
		wg.Go(func() {
			for n := uint64(0); ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				c, err := nettest.TryDial(both)
				if err == nil {
					err = duplex.Run(c, uint64(i)<<32|n, 3<<20, int64(n%4)<<20)
				}
				check("duplex", err)
			}
		})
	}
	traffic := startLoad(t, l.listen, 2, 50)
	for range scaled(5) {
		if gone := w.upgrade(); gone > 2*time.Second && !raceEnabled {
			t.Errorf("the old process was there for another %v", gone)
		}
		require.Equal(t, int(w.proc()), a.pid())
	}
	for _, r := range w.upgrades() {
		t.Logf("moved %d, left %d, in %v ms", r.num("sessions_moved"), r.num("sessions_left"), r["took_ms"])
		require.Greater(t, r.num("sessions_moved"), many)
	}
	close(stop)
	wg.Wait()
	traffic.end()
	t.Logf("%d short sessions", traffic.short.Load())
	require.Empty(t, duplex.Errs())
	require.Empty(t, w.loud())
}
