package discovery

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// Result is the outcome of one question.
type Result struct {
	Answer Answer
	Err    error // ErrUnchanged = the last answer holds
	At     time.Time
	Next   time.Time // when the provider is asked again, at the latest
}

// Options are the parameters of a Watcher.
type Options struct {
	Provider Provider
	Interval time.Duration
	Timeout  time.Duration

	// Asked is set if the provider has been asked already: the Watcher first waits.
	Asked *Result

	// Publish receives each result. It is called by one goroutine and must not block for long.
	Publish func(Result)
}

// Watcher asks a provider until it is closed.
type Watcher struct {
	cancel context.CancelFunc
	work   sync.WaitGroup
}

const (
	minPause   = 200 * time.Millisecond // between two questions: changes of a source are read together
	firstRetry = time.Second            // after a failure; it doubles with each further one, up to the interval
	jitter     = 0.1                    // of an interval, in both directions
)

// Start starts a watcher.
func Start(o Options) *Watcher {
	ctx, cancel := context.WithCancel(context.Background())
	w := &Watcher{cancel: cancel}
	w.work.Go(func() { o.run(ctx) })
	return w
}

// Close ends the questions and waits for the goroutine. Publish is not called afterwards.
func (w *Watcher) Close() {
	w.cancel()
	w.work.Wait()
}

func (o *Options) run(ctx context.Context) {
	failures := 0
	asked := o.Asked
	for ctx.Err() == nil {
		r := asked
		if asked = nil; r == nil {
			r = Ask(ctx, o.Provider, o.Timeout)
			if ctx.Err() != nil {
				return
			}
		}
		failures++
		if r.Err == nil || errors.Is(r.Err, ErrUnchanged) {
			failures = 0
		}
		pause := pauseAfter(o.Interval, r.Answer.TTL, failures, rand.Float64())
		r.Next = time.Now().Add(pause)
		o.Publish(*r)
		o.wait(ctx, pause)
	}
}

// wait waits for the pause, or until the provider notices a change, but at least for minPause.
func (o *Options) wait(ctx context.Context, pause time.Duration) {
	least, cancel := context.WithTimeout(ctx, minPause)
	<-least.Done()
	cancel()
	if pause -= minPause; pause <= 0 {
		return
	}
	most, cancel := context.WithTimeout(ctx, pause)
	defer cancel()
	if n, ok := o.Provider.(Notifier); ok {
		n.Wait(most)
		return
	}
	<-most.Done()
}

// pauseAfter returns the time to the next question: the interval or the ttl of the answer, whichever is longer, with jitter.
// After failures in a row, questions are repeated earlier. random is in [0, 1).
func pauseAfter(interval, ttl time.Duration, failures int, random float64) time.Duration {
	pause := max(interval, ttl)
	if failures > 0 {
		pause = min(interval, firstRetry<<min(failures-1, 16))
	}
	pause += time.Duration((2*random - 1) * jitter * float64(pause))
	return max(pause, minPause, ttl)
}

// Ask asks a provider once.
func Ask(ctx context.Context, p Provider, timeout time.Duration) (r *Result) {
	r = &Result{}
	ask, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	defer func() {
		if failure := recover(); failure != nil { // one answer must not end the process
			r.Err = fmt.Errorf("panic: %v", failure)
		}
		r.At = time.Now()
	}()
	r.Answer, r.Err = p.Ask(ask)
	if r.Err != nil && errors.Is(ask.Err(), context.DeadlineExceeded) && ctx.Err() == nil {
		r.Err = errTimeout(timeout)
	}
	return r
}
