package fleet

import (
	"context"
	"errors"
	"time"
)

// Bounds of the pauses between attempts to reach the store.
const (
	minPause = 100 * time.Millisecond
	maxPause = 5 * time.Second
)

var (
	errReload    = errors.New("the store has changed")
	errNameInUse = errors.New("in use")
)

// Run connects the node until ctx ends. Then it leaves the fleet, if the store answers soon.
func (m *Member) Run(ctx context.Context) {
	m.adopt()
	pause := minPause
	for ctx.Err() == nil {
		was := m.isConnected()
		err := m.serve(ctx)
		if ctx.Err() != nil {
			break
		}
		if errors.Is(err, errReload) || errors.Is(err, ErrConflict) || errors.Is(err, ErrCompacted) {
			if !was {
				pause = minPause
			}
			wait(ctx, m.o.Jitter(minPause/5))
			continue
		}
		if m.disconnected(err) {
			pause = minPause
		}
		if errors.Is(err, errNameInUse) {
			pause = max(pause, m.o.TTL/2)
		}
		wait(ctx, m.o.Jitter(pause))
		pause = min(2*pause, max(maxPause, m.o.TTL/2))
	}
	if m.isConnected() && m.lease != nil {
		leaving, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTimeout)
		m.lease.Release(leaving) // else the record ends with its ttl
		cancel()
	}
}

// leaveTimeout bounds what a stop waits for the store.
const leaveTimeout = 200 * time.Millisecond

func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// adopt shares the overrides that the node had before it joined the fleet.
func (m *Member) adopt() {
	if !m.SharesOverrides() || m.o.Existing == nil {
		return
	}
	existing := m.o.Existing()
	m.mu.Lock()
	defer m.mu.Unlock()
	for key, said := range existing {
		if m.overrides.Current(key) == nil && !m.overrides.IsLocal(key) {
			if _, err := m.overrides.Say(key, said); err != nil {
				m.o.Log.Warn("fleet: override cannot be shared", "key", key, "error", err)
			}
		}
	}
}

func (m *Member) isConnected() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.connected
}

// serve loads the store and follows its changes until something fails.
func (m *Member) serve(ctx context.Context) error {
	if m.lease != nil {
		select {
		case <-m.lease.Lost():
			m.lease, m.written, m.writtenVerdicts = nil, nil, nil
		default:
		}
	}
	snapshot, err := m.o.Store.Load(ctx)
	if err != nil {
		return err
	}
	if err := m.claim(ctx, snapshot); err != nil {
		return err
	}
	watching, cancel := context.WithCancel(ctx)
	defer cancel()
	changes, err := m.o.Store.Watch(watching, snapshot.Revision)
	if err != nil {
		return err
	}
	m.load(snapshot)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		if err := m.write(ctx); err != nil {
			return err
		}
		if err := m.writeVerdicts(ctx); err != nil {
			return err
		}
		select {
		case c, ok := <-changes:
			switch {
			case !ok:
				return errors.New("the watch has ended")
			case c.Err != nil:
				return c.Err
			case !m.apply(c):
				return errReload
			}
		case <-m.wake:
		case <-tick.C:
			if err := m.report(ctx); err != nil {
				return err
			}
		case <-m.lease.Lost():
			return ErrLeaseLost
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
