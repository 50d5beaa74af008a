package rollout

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"weir/internal/fleet"
)

// Bounds of the pauses between attempts to reach the store.
const (
	minRetry = 200 * time.Millisecond
	maxRetry = 5 * time.Second
)

// leaveTimeout bounds what a stop waits for the store.
const leaveTimeout = 200 * time.Millisecond

// followStore keeps known up to date until ctx ends.
func (a *Agent) followStore(ctx context.Context) {
	var lease fleet.Lease
	pause := minRetry
	for ctx.Err() == nil {
		began := time.Now()
		err := a.readStore(ctx, &lease)
		if ctx.Err() != nil {
			break
		}
		a.away(err)
		if time.Since(began) > maxRetry {
			pause = minRetry
		}
		timer := time.NewTimer(pause/2 + rand.N(pause/2))
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		pause = min(2*pause, maxRetry)
	}
	if lease != nil {
		leaving, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTimeout)
		defer cancel()
		lease.Release(leaving) // else the report ends with its ttl
	}
}

// readStore loads the store and follows its changes until something fails.
func (a *Agent) readStore(ctx context.Context, lease *fleet.Lease) error {
	if *lease != nil {
		select {
		case <-(*lease).Lost():
			*lease = nil
		default:
		}
	}
	if *lease == nil {
		l, err := a.o.Store.Lease(ctx, a.o.TTL)
		if err != nil {
			return err
		}
		*lease = l
	}
	all, err := a.o.Store.Load(ctx)
	if err != nil {
		return err
	}
	watching, cancel := context.WithCancel(ctx)
	defer cancel()
	changes, err := a.o.Store.Watch(watching, all.Revision)
	if err != nil {
		return err
	}
	a.load(all, *lease)
	for {
		select {
		case c, ok := <-changes:
			switch {
			case !ok:
				return errors.New("the watch has ended")
			case c.Err != nil:
				return c.Err
			}
			a.take(c)
		case <-(*lease).Lost():
			return fleet.ErrLeaseLost
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
