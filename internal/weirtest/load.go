package weirtest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
)

// Load keeps an address busy until it is stopped: short sessions one after the other, and long ones with a message now
// and then. None of them may fail.
type Load struct {
	t      *testing.T
	stop   chan struct{}
	wg     sync.WaitGroup
	Short  atomic.Int64
	failed atomic.Int64
	mu     sync.Mutex
	errs   []error
	long   []*net.TCPConn
}

// StartLoad opens the long sessions and starts the load. The servers echo.
func StartLoad(t *testing.T, addr string, workers, long int) *Load {
	t.Helper()
	l := &Load{t: t, stop: make(chan struct{})}
	for range long {
		c := nettest.Dial(t, addr)
		require.NoError(t, PingPong(c))
		l.long = append(l.long, c)
	}
	for range workers {
		l.wg.Go(func() {
			for seed := rand.Uint64(); !l.stopped(); seed++ {
				c, err := nettest.TryDial(addr)
				if err == nil {
					err = nettest.Exchange(c, seed, 100, 100)
				}
				l.Short.Add(1)
				l.check("short session", err)
			}
		})
	}
	if long > 0 {
		l.wg.Go(func() {
			for i := 0; !l.stopped(); i++ {
				l.check("long session", PingPong(l.long[i%long]))
				if i%long == 0 {
					time.Sleep(10 * time.Millisecond)
				}
			}
		})
	}
	return l
}

func (l *Load) stopped() bool {
	select {
	case <-l.stop:
		return true
	default:
		return false
	}
}

func (l *Load) check(what string, err error) {
	if err == nil {
		return
	}
	l.failed.Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.errs) < 5 {
		l.errs = append(l.errs, fmt.Errorf("%s: %w", what, err))
	}
}

// WaitShort waits until n more short sessions have ended.
func (l *Load) WaitShort(n int64) {
	l.t.Helper()
	until := l.Short.Load() + n
	nettest.Wait(l.t, patience, "more short sessions", func() bool { return l.Short.Load() >= until })
}

// Stop stops the load, checks that nothing failed, that the long sessions still work, and closes them.
func (l *Load) Stop() {
	l.t.Helper()
	close(l.stop)
	l.wg.Wait()
	for _, c := range l.long {
		l.check("long session at the end", PingPong(c))
		c.Close()
	}
	require.Zero(l.t, l.failed.Load(), "of %d: %v", l.Short.Load(), errors.Join(l.errs...))
}
