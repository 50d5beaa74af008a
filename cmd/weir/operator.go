package main

import (
	"context"

	"weir/internal/engine"
	"weir/internal/status"
)

// operator is what the API acts on: the engine, and the process around it for what concerns that too.
type operator struct {
	*engine.Engine
	process *daemonState
}

// Reload goes over to what the file says now, as the signal does, and returns the outcome. Requests that come while one
// is under way are answered together by the next.
func (o *operator) Reload(ctx context.Context) error {
	outcome := make(chan error, 1)
	select {
	case o.process.reloads <- outcome:
	case <-o.process.stopping:
		return &status.RequestError{Kind: status.Unavailable, Text: engine.ErrStopped.Error()}
	case <-ctx.Done():
		return ctx.Err()
	}
	err := <-outcome
	if err == nil {
		return nil
	}
	return engine.InvalidConfig(err)
}

// Stop stops weir, as the signal does, and returns how many sessions were cut. With now, or when it is asked for now
// while a stop is under way, they are cut at once. Whoever has asked has asked, and may leave.
func (o *operator) Stop(ctx context.Context, now bool) (cut int, err error) {
	o.process.giveUp()
	select {
	case o.process.stops <- now:
	case <-o.process.stopped:
	}
	select {
	case <-o.process.stopped:
		return o.process.cut, nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}
