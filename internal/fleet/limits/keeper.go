package limits

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"math/rand/v2"
	"sync"
	"time"

	"weir/internal/fleet"
)

// KeeperOptions are the parameters of a Keeper. Its functions are called by one goroutine.
type KeeperOptions struct {
	Node    string
	Prefix  string // names the fleet
	Reserve time.Duration
	Store   fleet.Store
	Boot    string               // identifies the boot of the machine
	Clock   func() time.Duration // monotonic, and the same for all processes of a boot
	Claimed func() bool          // reports whether this process is the only one with the name of the node
	Usage   func() map[string]Usage
	Apply   func(allowed map[string]Allowed, deadline time.Duration)
	Changed func(e Event)
	Saved   json.RawMessage // what Save of an earlier process has returned; nil = nothing
	Log     *slog.Logger
}

// Event is a change of the fleet that this node has seen.
type Event struct {
	Node string // whose parts pass to others
	Why  string
}

// Keeper applies the parts of a node. Its methods may be called by any goroutine.
type Keeper struct {
	o KeeperOptions

	// Owned by Run.
	applied  map[string]Allowed
	deadline time.Duration
	loading  bool
	changes  <-chan fleet.Change
	cancel   context.CancelFunc
	gone     map[string]string // nodes that have been reported as gone

	mu        sync.Mutex // guards the fields below
	node      *Node
	live      map[string]bool
	frozen    bool
	connected bool
}

// Times of a Keeper.
const (
	tick          = 200 * time.Millisecond // between steps
	minGap        = 50 * time.Millisecond  // between steps that changes of the store cause
	reconnect     = 500 * time.Millisecond
	commitTimeout = 3 * time.Second
	leaveTime     = 200 * time.Millisecond // for the result of a commit, once the keeper ends
)

// NewKeeper returns a keeper that has the parts of an earlier process, if any.
func NewKeeper(o KeeperOptions) *Keeper {
	k := &Keeper{o: o, live: map[string]bool{}}
	options := Options{Name: o.Node, Reserve: o.Reserve, Jitter: func(d time.Duration) time.Duration { return rand.N(d) }}
	k.node = restore(options, o, o.Clock())
	return k
}

// ApplySaved puts the parts of an earlier process in force. It is for a keeper that does not run.
func (k *Keeper) ApplySaved() { k.step(false) }

// connection is the result of an attempt to load the store.
type connection struct {
	snapshot fleet.Snapshot
	changes  <-chan fleet.Change
	cancel   context.CancelFunc
	err      error
}

type committed struct {
	revision int64
	err      error
}

// Run keeps the parts until ctx ends.
func (k *Keeper) Run(ctx context.Context) {
	loaded, results := make(chan connection, 1), make(chan committed, 1)
	inFlight := false
	timer := time.NewTimer(0)
	defer timer.Stop()
	retry := time.NewTimer(0)
	defer retry.Stop()
	stepped := time.Now()
	soon := func() { timer.Reset(max(0, minGap-time.Since(stepped))) }
	defer func() {
		if k.cancel != nil {
			k.cancel()
		}
		if k.loading {
			if c := <-loaded; c.cancel != nil {
				c.cancel()
			}
		}
		if inFlight {
			<-results
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return
		case <-retry.C:
			switch {
			case k.loading || k.changes != nil:
			case inFlight || !k.o.Claimed():
				retry.Reset(tick)
			default:
				k.loading = true
				go func() { loaded <- k.connect(ctx) }()
			}
		case c := <-loaded:
			if k.loading = false; c.err != nil {
				retry.Reset(reconnect/2 + rand.N(reconnect))
				continue
			}
			k.changes, k.cancel = c.changes, c.cancel
			k.load(c.snapshot)
			soon()
		case c, ok := <-k.changes:
			if !ok || c.Err != nil {
				k.disconnect()
				retry.Reset(rand.N(reconnect))
				continue
			}
			k.change(c)
			soon()
		case r := <-results:
			inFlight = false
			k.done(r)
			soon()
		case <-timer.C:
			stepped = time.Now()
			timer.Reset(tick)
			if t := k.step(inFlight); t != nil {
				inFlight = true
				go func() { results <- k.commit(ctx, *t) }()
			}
		}
	}
}

// connect loads the store and follows its changes.
func (k *Keeper) connect(ctx context.Context) (c connection) {
	if c.snapshot, c.err = k.o.Store.Load(ctx); c.err != nil {
		return c
	}
	var watching context.Context
	watching, c.cancel = context.WithCancel(ctx)
	if c.changes, c.err = k.o.Store.Watch(watching, c.snapshot.Revision); c.err != nil {
		c.cancel()
	}
	return c
}

func (k *Keeper) disconnect() {
	k.cancel()
	k.changes, k.cancel = nil, nil
	k.mu.Lock()
	defer k.mu.Unlock()
	k.connected = false
}

func (k *Keeper) commit(ctx context.Context, t fleet.Txn) committed {
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTimeout)
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(leaveTime, cancel) })()
	revision, err := k.o.Store.Commit(limited, t)
	return committed{revision, err}
}

// load takes the content of the store.
func (k *Keeper) load(s fleet.Snapshot) {
	k.mu.Lock()
	defer k.mu.Unlock()
	clear(k.live)
	for _, r := range s.Records {
		k.noteLive(r.Key, r.Leased)
	}
	k.connected = true
	k.node.Load(s, k.o.Clock())
}

// change takes a change of the store.
func (k *Keeper) change(c fleet.Change) {
	k.mu.Lock()
	for _, r := range c.Records {
		k.noteLive(r.Key, r.Leased)
	}
	for _, key := range c.Deleted {
		k.noteLive(key, false)
	}
	k.node.Change(c, k.o.Clock())
	k.mu.Unlock()
	k.reportGone()
}

// reportGone reports the nodes that have been declared gone since the last call.
func (k *Keeper) reportGone() {
	k.mu.Lock()
	now := k.node.gone()
	k.mu.Unlock()
	for name, why := range now {
		if k.gone[name] != why {
			k.o.Changed(Event{name, why})
		}
	}
	k.gone = now
}

func (k *Keeper) noteLive(key string, live bool) {
	if s, ok := fleet.Segments(key); ok && len(s) == 2 && s[0] == fleet.NodesKey {
		if live {
			k.live[s[1]] = true
		} else {
			delete(k.live, s[1])
		}
	}
}

// step decides and applies, and returns a transaction to commit.
func (k *Keeper) step(inFlight bool) *fleet.Txn {
	usage := k.o.Usage()
	now := k.o.Clock()
	k.mu.Lock()
	if k.frozen {
		k.mu.Unlock()
		return nil
	}
	r := k.node.Step(usage, k.live, now)
	if r.Txn != nil && (inFlight || !k.o.Claimed()) {
		k.node.Done(0, fleet.ErrConflict, now)
		r.Txn = nil
	}
	k.mu.Unlock()
	ends := false
	for _, a := range r.Allowed {
		ends = ends || a.End
	}
	if ends || k.deadline != r.Deadline || k.applied == nil || !maps.Equal(k.applied, r.Allowed) {
		k.o.Apply(r.Allowed, r.Deadline)
		k.applied, k.deadline = r.Allowed, r.Deadline
	}
	return r.Txn
}

func (k *Keeper) done(r committed) {
	k.mu.Lock()
	k.node.Done(r.revision, r.err, k.o.Clock())
	k.mu.Unlock()
	k.reportGone()
	if r.err != nil && !errors.Is(r.err, fleet.ErrConflict) {
		k.o.Log.Debug("fleet: limits cannot be written", "error", r.err)
	}
}

// SetReserve changes how long the parts stay reserved while the node is silent.
func (k *Keeper) SetReserve(reserve time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.node.SetReserve(reserve)
}

// Freeze stops changes, so that another process can continue with what Save returns, or lets the keeper continue.
func (k *Keeper) Freeze(frozen bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.frozen = frozen
}

// Forget declares a node gone on behalf of an operator. The error is ErrUnknownNode, or that of the store.
func (k *Keeper) Forget(ctx context.Context, name string) error {
	k.mu.Lock()
	t, ok := k.node.Forget(name)
	k.mu.Unlock()
	if !ok {
		return ErrUnknownNode
	}
	_, err := k.o.Store.Commit(ctx, t)
	return err
}

// ErrUnknownNode means that a node holds no parts, or is this one.
var ErrUnknownNode = errors.New("holds no parts of limits")
