package etcd

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"weir/internal/fleet"
)

// lease is renewed by its own goroutine, over whichever connection the store has.
type lease struct {
	s      *Store
	id     clientv3.LeaseID
	ttl    time.Duration
	cancel context.CancelFunc
	lost   chan struct{}

	mu       sync.Mutex
	released bool
}

// Lease starts a lease. The ttl is rounded up to seconds; etcd may choose a longer one.
func (s *Store) Lease(ctx context.Context, ttl time.Duration) (fleet.Lease, error) {
	l := &lease{s: s, ttl: ttl, lost: make(chan struct{})}
	asked := time.Now()
	err := s.call(ctx, func(ctx context.Context, c *clientv3.Client) error {
		granted, err := c.Grant(ctx, int64((ttl+time.Second-1)/time.Second))
		if err == nil {
			l.id = granted.ID
		}
		return translate(err)
	})
	if err != nil {
		return nil, err
	}
	var renewing context.Context
	renewing, l.cancel = context.WithCancel(s.ctx)
	s.work.Go(func() {
		defer close(l.lost)
		l.renew(renewing, asked.Add(ttl))
	})
	return l, nil
}

func (l *lease) ID() int64             { return int64(l.id) }
func (l *lease) Lost() <-chan struct{} { return l.lost }

// renew renews the lease until it is lost, or ctx ends. The lease lives until expires at least.
func (l *lease) renew(ctx context.Context, expires time.Time) {
	const retry = 200 * time.Millisecond
	pause := l.ttl / 3
	timer := time.NewTimer(pause)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		asked := time.Now()
		err := l.s.call(ctx, func(ctx context.Context, c *clientv3.Client) error {
			return translate(keepAlive(ctx, c, l.id))
		})
		switch {
		case err == nil:
			expires = asked.Add(l.ttl)
			pause = l.ttl / 3
		case errors.Is(err, fleet.ErrLeaseLost) || time.Now().After(expires):
			return
		default:
			pause = min(retry, max(time.Until(expires), time.Millisecond))
		}
		timer.Reset(pause)
	}
}

// keepAlive renews a lease once. That of the client repeats a call that fails at once without a pause.
func keepAlive(ctx context.Context, c *clientv3.Client, id clientv3.LeaseID) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := pb.NewLeaseClient(c.ActiveConnection()).LeaseKeepAlive(ctx)
	if err != nil {
		return err
	}
	if err := stream.Send(&pb.LeaseKeepAliveRequest{ID: int64(id)}); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	response, err := stream.Recv() // also what made Send return io.EOF
	if err == nil && response.TTL <= 0 {
		return fleet.ErrLeaseLost
	}
	return err
}

// Release ends the lease and deletes its records.
func (l *lease) Release(ctx context.Context) error {
	l.cancel()
	<-l.lost
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.released {
		return nil
	}
	err := l.s.call(ctx, func(ctx context.Context, c *clientv3.Client) error {
		_, err := c.Revoke(ctx, l.id)
		return translate(err)
	})
	if err == nil || errors.Is(err, fleet.ErrLeaseLost) {
		l.released = true
		return nil
	}
	return err
}
