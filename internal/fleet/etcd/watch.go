package etcd

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"weir/internal/fleet"
)

const (
	// watchCapacity is the number of changes that a watch holds for its reader. The client would hold any number.
	watchCapacity = 256

	// pingInterval is the time between two reads during a watch. A server that is frozen, or cut off from the others, keeps
	// its connections: only a read that goes through the leader shows it.
	pingInterval = 2 * time.Second
)

// Watch delivers the changes after a revision.
func (s *Store) Watch(ctx context.Context, after int64) (<-chan fleet.Change, error) {
	c, err := s.connection()
	if err != nil {
		return nil, err
	}
	watching, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	late := time.AfterFunc(s.o.Timeout, cancel)
	responses := c.Watch(watching, s.prefix, clientv3.WithPrefix(), clientv3.WithRev(after+1))
	if !late.Stop() {
		cancel()
		endpoint := c.Endpoints()[0]
		s.drop(c)
		return nil, s.described(endpoint, errors.New("no watch within the timeout"))
	}
	w := &watch{s: s, c: c, changes: make(chan fleet.Change, watchCapacity+1)}
	s.work.Go(func() {
		defer cancel()
		defer close(w.changes)
		if err := w.deliver(watching, responses); err != nil && ctx.Err() == nil {
			w.changes <- fleet.Change{Err: err} // it has room for one more than deliver uses
		}
	})
	return w.changes, nil
}

type watch struct {
	s       *Store
	c       *clientv3.Client
	changes chan fleet.Change
}

// deliver delivers changes until the watch fails or ctx ends.
func (w *watch) deliver(ctx context.Context, responses clientv3.WatchChan) error {
	pings := time.NewTimer(nextPing())
	defer pings.Stop()
	pinged := make(chan error, 1)
	pinging := false
	defer func() {
		if pinging {
			<-pinged // it ends with ctx or its timeout
		}
	}()
	for {
		select {
		case response, ok := <-responses:
			switch {
			case !ok:
				return errors.Join(ctx.Err(), errors.New("the watch has ended"))
			case response.Err() != nil:
				err := translate(response.Err())
				if !errors.Is(err, fleet.ErrCompacted) {
					w.s.drop(w.c)
					err = w.s.described(w.c.Endpoints()[0], err)
				}
				return err
			}
			if err := w.send(&response); err != nil {
				return err
			}
		case <-pings.C:
			pinging = true
			go func() {
				_, err := w.s.get(ctx, w.s.prefix+fleet.IdentityKey, clientv3.WithKeysOnly())
				pinged <- err
			}()
		case err := <-pinged:
			if pinging = false; err != nil {
				return err
			}
			pings.Reset(nextPing())
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func nextPing() time.Duration { return pingInterval*3/4 + rand.N(pingInterval/2) }

// send delivers the changes of a response, which holds whole revisions.
func (w *watch) send(response *clientv3.WatchResponse) error {
	change := fleet.Change{Revision: response.Header.Revision}
	deleted := map[string]bool{}
	for _, event := range response.Events {
		change.Revision = event.Kv.ModRevision
		r, ok := w.s.record(event.Kv)
		switch {
		case !ok:
		case event.Type == mvccpb.DELETE:
			deleted[r.Key] = true
		default:
			delete(deleted, r.Key)
			change.Records = append(change.Records, r)
		}
	}
	for key := range deleted {
		change.Deleted = append(change.Deleted, key)
	}
	if len(w.changes) >= watchCapacity {
		return errors.New("the changes of the store are not read fast enough")
	}
	if len(change.Records)+len(change.Deleted) > 0 {
		w.changes <- change
	}
	return nil
}
