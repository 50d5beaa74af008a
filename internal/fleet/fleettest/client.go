package fleettest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"weir/internal/fleet"
)

// ErrUnavailable is the error of a client that is cut off.
var ErrUnavailable = errors.New("store unavailable")

// watchCapacity is the number of changes that a watch holds for its reader. A watch whose reader is slower ends.
const watchCapacity = 4096

// Client is one node's connection to a Server. It implements fleet.Store.
type Client struct {
	server    *Server
	cut       bool
	closed    bool
	delayed   bool
	loseReply bool
	watches   []*watch
}

type watch struct {
	changes chan fleet.Change
	next    int64 // the revision to deliver
}

// Cut cuts the client off: calls fail, watches end and leases are not renewed. It ends that with false.
func (c *Client) Cut(cut bool) {
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	if c.cut = cut; cut {
		c.endWatches(ErrUnavailable)
	}
}

// Delay holds the changes of the client's watches back, until it is called with false.
func (c *Client) Delay(delayed bool) {
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	c.delayed = delayed
	c.deliver()
}

// LoseReply makes the next Commit write and then return an error, as if its reply was lost.
func (c *Client) LoseReply() {
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	c.loseReply = true
}

// usable returns an error if the client is cut off or closed. mu is held.
func (c *Client) usable() error {
	if c.cut || c.closed {
		return ErrUnavailable
	}
	return nil
}

// Load returns all records.
func (c *Client) Load(ctx context.Context) (fleet.Snapshot, error) {
	s := c.server
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := errors.Join(ctx.Err(), c.usable()); err != nil {
		return fleet.Snapshot{}, err
	}
	list := s.list()
	omitted := max(0, len(list)-fleet.MaxRecords)
	return fleet.Snapshot{Revision: s.revision, Records: list[:len(list)-omitted], Omitted: omitted}, nil
}

// Watch delivers the changes after a revision.
func (c *Client) Watch(ctx context.Context, after int64) (<-chan fleet.Change, error) {
	s := c.server
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := errors.Join(ctx.Err(), c.usable()); err != nil {
		return nil, err
	}
	w := &watch{changes: make(chan fleet.Change, watchCapacity+1), next: after + 1}
	c.watches = append(c.watches, w)
	context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		c.end(w, nil)
	})
	c.deliver()
	return w.changes, nil
}

// end ends a watch, with an error or silently. mu is held.
func (c *Client) end(w *watch, err error) {
	at := slices.Index(c.watches, w)
	if at < 0 {
		return
	}
	c.watches = slices.Delete(c.watches, at, at+1)
	if err != nil {
		w.changes <- fleet.Change{Err: err} // it has room for one more than watchCapacity
	}
	close(w.changes)
}

func (c *Client) endWatches(err error) {
	for len(c.watches) > 0 {
		c.end(c.watches[0], err)
	}
}

// deliver puts the changes so far into the watches. mu is held.
func (c *Client) deliver() {
	if c.delayed || c.usable() != nil {
		return
	}
	s := c.server
	for _, w := range slices.Clone(c.watches) {
		if w.next <= s.compacted {
			c.end(w, fleet.ErrCompacted)
			continue
		}
		for _, change := range s.changes {
			if change.Revision < w.next {
				continue
			}
			if len(w.changes) >= watchCapacity {
				c.end(w, errors.New("the reader of the watch is too slow"))
				break
			}
			w.changes <- change
			w.next = change.Revision + 1
		}
	}
}

// Commit makes the writes of a transaction.
func (c *Client) Commit(ctx context.Context, t fleet.Txn) (int64, error) {
	s := c.server
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := errors.Join(ctx.Err(), c.usable()); err != nil {
		return 0, err
	}
	if n := len(t.Put) + len(t.Delete); n > fleet.MaxTxn || len(t.If) > fleet.MaxTxn {
		return 0, errors.New("too many operations in a transaction")
	}
	for _, condition := range t.If {
		if s.records[condition.Key].Modified != condition.Modified {
			return 0, fleet.ErrConflict
		}
	}
	if s.full && len(t.Put) > 0 {
		return 0, fleet.ErrFull
	}
	seen := map[string]bool{}
	for _, p := range t.Put {
		if l, ok := p.Lease.(*lease); ok && l.ended {
			return 0, fleet.ErrLeaseLost
		}
		if p.Key == "" || strings.HasPrefix(p.Key, "/") || len(p.Value) > fleet.MaxConfig || seen[p.Key] {
			return 0, errors.New("invalid put of key " + p.Key)
		}
		seen[p.Key] = true
	}
	s.commit(t.Put, t.Delete)
	if c.loseReply {
		c.loseReply = false
		return 0, ErrUnavailable
	}
	return s.revision, nil
}

// Lease starts a lease.
func (c *Client) Lease(ctx context.Context, ttl time.Duration) (fleet.Lease, error) {
	s := c.server
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := errors.Join(ctx.Err(), c.usable()); err != nil {
		return nil, err
	}
	s.lastLease++
	l := &lease{id: s.lastLease, client: c, ttl: ttl, expires: s.now + ttl, lost: make(chan struct{})}
	s.leases[l.id] = l
	return l, nil
}

// Close ends the client. Its leases end after their ttl.
func (c *Client) Close() error {
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	c.closed = true
	c.endWatches(ErrUnavailable)
	return nil
}

type lease struct {
	id      int64
	client  *Client
	ttl     time.Duration
	expires time.Duration
	ended   bool
	lost    chan struct{}
	once    sync.Once
}

func (l *lease) ID() int64             { return l.id }
func (l *lease) Lost() <-chan struct{} { return l.lost }

// lose ends the lease without its records. The server's mu is held.
func (l *lease) lose() {
	l.ended = true
	delete(l.client.server.leases, l.id)
	l.once.Do(func() { close(l.lost) })
}

func (l *lease) Release(ctx context.Context) error {
	s := l.client.server
	s.mu.Lock()
	defer s.mu.Unlock()
	if l.ended {
		return nil
	}
	if err := errors.Join(ctx.Err(), l.client.usable()); err != nil {
		return err
	}
	s.end(l)
	return nil
}
