package main

import (
	"context"
	"errors"
	"time"

	"weir/internal/engine"
	"weir/internal/status"
)

// operator carries out requests of the API: those that concern the process are passed to the daemon's goroutine, the
// others go to the engine.
type operator struct {
	*engine.Engine
	daemon *daemon
}

// Reload reloads the configuration file, as SIGHUP does, and returns the result. Requests that arrive during a reload
// share the next one.
func (o *operator) Reload(ctx context.Context) error {
	result := make(chan error, 1)
	select {
	case o.daemon.reloads <- result:
	case <-o.daemon.stopping:
		return &status.RequestError{Kind: status.Unavailable, Text: engine.ErrStopped.Error()}
	case <-ctx.Done():
		return ctx.Err()
	}
	err := <-result
	var r *status.RequestError
	if err == nil || errors.As(err, &r) {
		return err
	}
	return engine.InvalidConfig(err)
}

// Status returns the status document.
func (o *operator) Status() status.Document {
	doc := o.Engine.Status()
	if s := o.daemon.shared.Load(); s != nil {
		doc.SharedConfig = new(s.status())
		doc.FindProblems()
	}
	return doc
}

// Fleet returns what this weir knows of its fleet.
func (o *operator) Fleet() (status.Fleet, error) {
	f, err := o.Engine.Fleet()
	if s := o.daemon.shared.Load(); err == nil && s != nil {
		f.SharedConfig = new(s.status())
		for _, p := range s.agent.Status().Problems {
			f.Problems = append(f.Problems, p.Key+": "+p.Text)
		}
	}
	return f, err
}

// Metrics returns the values of one scrape.
func (o *operator) Metrics() status.Metrics {
	m := o.Engine.Metrics()
	if s := o.daemon.shared.Load(); s != nil {
		m.SharedConfig = new(s.status())
	}
	return m
}

// SharedConfig returns the configuration that this node shares with its fleet.
func (o *operator) SharedConfig() (status.SharedConfig, error) {
	s := o.daemon.shared.Load()
	if s == nil {
		return status.SharedConfig{}, errNotShared
	}
	return s.status(), nil
}

// ApplyShared validates a shared configuration and begins its roll-out.
func (o *operator) ApplyShared(ctx context.Context, by, file string, text []byte, canaries int, pause time.Duration) (status.Rollout, error) {
	s := o.daemon.shared.Load()
	if s == nil {
		return status.Rollout{}, errNotShared
	}
	return s.begin(ctx, by, file, text, canaries, pause)
}

// RollBackShared ends the roll-out in progress, or returns to the previous revision.
func (o *operator) RollBackShared(ctx context.Context, by string) (status.Rollout, error) {
	s := o.daemon.shared.Load()
	if s == nil {
		return status.Rollout{}, errNotShared
	}
	return s.undo(ctx, by)
}

// ClearShared returns all nodes to the listeners and clusters of their files, and removes the shared configuration from the store.
func (o *operator) ClearShared(ctx context.Context, by string) (status.Rollout, error) {
	s := o.daemon.shared.Load()
	if s == nil {
		return status.Rollout{}, errNotShared
	}
	return s.clear(ctx, by)
}

// Stop stops weir, as SIGTERM does, and returns the number of sessions cut. With now they are cut immediately, also by a
// second request during a stop. The end of ctx ends only the wait.
func (o *operator) Stop(ctx context.Context, now bool) (cut int, err error) {
	o.daemon.signals.requestStop()
	select {
	case o.daemon.stops <- now:
	case <-o.daemon.stopped:
	}
	select {
	case <-o.daemon.stopped:
	case <-ctx.Done():
		// The API cancels its requests after a stop is complete: then both are done, and the client gets its response.
		select {
		case <-o.daemon.stopped:
		default:
			return 0, ctx.Err()
		}
	}
	return o.daemon.cut, nil
}

// Upgrade upgrades to the program on disk, as SIGUSR2 does, and returns the result.
func (o *operator) Upgrade(ctx context.Context) (status.Upgrade, error) {
	result := make(chan upgradeResult, 1)
	select {
	case o.daemon.upgrades <- result:
	case <-o.daemon.stopping:
		return status.Upgrade{}, &status.RequestError{Kind: status.Unavailable, Text: engine.ErrStopped.Error()}
	case <-ctx.Done():
		return status.Upgrade{}, ctx.Err()
	}
	u := <-result
	var r *status.RequestError
	if u.err != nil && !errors.As(u.err, &r) {
		u.err = &status.RequestError{Kind: status.Unprocessable, Text: "upgrade: " + u.err.Error()}
	}
	return u.Upgrade, u.err
}
