package fleetbed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/weirtest"
)

// Failure is a connection of the load that failed.
type Failure struct {
	Began time.Time
	Err   error
}

// Load opens connections at a steady rate, each with one exchange.
type Load struct {
	bed      *Bed
	stop     context.CancelFunc // opens no more connections
	ctx      context.Context    // of connections
	cut      context.CancelFunc // ends them
	work     sync.WaitGroup
	began    time.Time
	Done     atomic.Int64 // connections that have ended
	mu       sync.Mutex
	failures []Failure // guarded by mu
}

// connectTimeout is longer than a lost SYN takes to be repeated.
const connectTimeout = 10 * time.Second

// StartLoad opens connections from the clients, perSecond of them.
func (b *Bed) StartLoad(perSecond int) *Load {
	ctx, stop := context.WithCancel(context.Background())
	l := &Load{bed: b, stop: stop, began: time.Now()}
	l.ctx, l.cut = context.WithCancel(context.Background())
	const workers = 64
	due := make(chan time.Time, workers)
	for range workers {
		l.work.Go(func() { b.Client.Do(func() { l.serve(due) }) })
	}
	l.work.Go(func() {
		defer close(due)
		for n := 1; ctx.Err() == nil; n++ { // a machine that is late catches up
			at := l.began.Add(time.Duration(n) * time.Second / time.Duration(perSecond))
			time.Sleep(time.Until(at))
			due <- at
		}
	})
	b.T.Cleanup(func() { stop(); l.cut(); l.work.Wait() })
	return l
}

func (l *Load) serve(due <-chan time.Time) {
	for range due {
		began := time.Now()
		if err := exchange(l.ctx); err != nil {
			l.mu.Lock()
			l.failures = append(l.failures, Failure{began, err})
			l.mu.Unlock()
		}
		l.Done.Add(1)
	}
}

// exchange opens a connection, sends a byte and waits for its echo.
func exchange(ctx context.Context) error {
	dialer := net.Dialer{Timeout: connectTimeout}
	c, err := dialer.DialContext(ctx, "tcp", VIP+":"+Port)
	if err != nil {
		return err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	c.SetDeadline(time.Now().Add(connectTimeout))
	if _, err := c.Write([]byte("x")); err != nil {
		return err
	}
	var b [1]byte
	if _, err := io.ReadFull(c, b[:]); err != nil {
		return err
	}
	if b[0] != 'x' {
		return errors.New("wrong echo")
	}
	return nil
}

// Wait waits until n more connections have ended.
func (l *Load) Wait(n int64) {
	l.bed.T.Helper()
	end := l.Done.Load() + n
	begin := time.Now()
	for l.Done.Load() < end {
		if time.Since(begin) > weirtest.Bound(patience) {
			l.bed.T.Fatalf("%d connections do not end", n)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// Failures returns the connections that have failed so far.
func (l *Load) Failures() []Failure {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.failures)
}

// lastPatience is how long Stop waits for connections. Those to a dead node would hang for long.
const lastPatience = time.Second

// Stop ends the load, waits for its connections and returns those that failed, and a description.
func (l *Load) Stop() ([]Failure, string) {
	l.stop()
	lasted := time.Since(l.began).Seconds()
	cut := time.AfterFunc(weirtest.Bound(lastPatience), l.cut)
	l.work.Wait()
	cut.Stop()
	l.mu.Lock()
	defer l.mu.Unlock()
	text := fmt.Sprintf("%d connections, %.0f per second, %d failed", l.Done.Load(), float64(l.Done.Load())/lasted, len(l.failures))
	require.NotZero(l.bed.T, l.Done.Load())
	return l.failures, text
}
