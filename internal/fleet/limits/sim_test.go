package limits

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"weir/internal/fleet"
	"weir/internal/fleet/fleettest"
)

// world is a fleet in simulated time: nodes with their sessions and clocks, and a store.
type world struct {
	store  *fleettest.Server
	ghost  *fleettest.Client // executes requests that were stuck in the network
	nodes  []*simNode
	now    time.Duration
	rnd    *rand.Rand
	stuck  []fleet.Txn
	beaten int // transactions that were committed
	keys   []string
	most   map[string]int // highest value of each limit so far

	ledger   map[string]map[string]Part // all parts
	ledgerAt int64                      // revision
}

// simNode is one weir. Sessions stand for new sessions per second if the limit is a rate.
type simNode struct {
	w        *world
	name     string
	client   *fleettest.Client
	rate     float64 // of its clock
	origin   time.Duration
	process  int
	node     *Node
	changes  <-chan fleet.Change
	stop     context.CancelFunc
	reserve  time.Duration
	alive    bool
	paused   time.Duration // since; 0 = it runs
	cut      bool
	stick    bool            // the next transaction is delayed in the network
	blind    map[string]bool // nodes that it wrongly takes for absent
	limit    map[string]int
	demand   map[string]int
	sessions map[string]int
	peak     map[string]int
	refused  map[string]bool
	allowed  map[string]Allowed
	recent   map[string][]forced // parts in force, for rates
	deadline time.Duration
}

type forced struct {
	until time.Duration
	part  int
}

const simTick = 250 * time.Millisecond

func newWorld(seed uint64, keys ...string) *world {
	w := &world{store: fleettest.New(), rnd: rand.New(rand.NewPCG(seed, 1)), keys: keys, now: time.Hour, most: map[string]int{}}
	w.ghost = w.store.Client()
	return w
}

// add starts a node.
func (w *world) add(name string, reserve time.Duration, limit int) *simNode {
	s := &simNode{w: w, name: name, client: w.store.Client(), rate: 1, reserve: reserve, blind: map[string]bool{}, limit: map[string]int{}, demand: map[string]int{}}
	for _, key := range w.keys {
		s.setLimit(key, limit)
	}
	w.nodes = append(w.nodes, s)
	s.start()
	return s
}

func (s *simNode) setLimit(key string, limit int) {
	s.limit[key] = limit
	s.w.most[key] = max(s.w.most[key], limit)
}

func (s *simNode) clock() time.Duration {
	return s.origin + time.Duration(float64(s.w.now)*s.rate)
}

func (s *simNode) start() {
	s.process++
	s.alive, s.paused, s.deadline = true, 0, 0
	s.sessions, s.peak, s.refused, s.allowed = map[string]int{}, map[string]int{}, map[string]bool{}, map[string]Allowed{}
	s.recent = map[string][]forced{}
	s.changes = nil
	s.node = New(Options{Name: s.name, ID: fmt.Sprint(s.name, s.process), Reserve: s.reserve,
		Jitter: func(d time.Duration) time.Duration { return time.Duration(s.w.rnd.Int64N(int64(d))) }}, s.clock())
}

func (s *simNode) kill() {
	s.alive, s.paused = false, 0
	if s.stop != nil {
		s.stop()
	}
}

// may reports what the node can admit in all.
func (s *simNode) may(key string) int {
	if s.deadline > 0 && s.clock() >= s.deadline && KindOf(key) != PerSource {
		return 0
	}
	return s.allowed[key].Part
}

// admit starts and ends sessions.
func (s *simNode) admit() {
	if !s.alive || s.paused > 0 {
		return
	}
	for _, key := range s.w.keys {
		want, may := s.demand[key], s.may(key)
		if KindOf(key) == Rate {
			s.sessions[key] = min(want, may)
			s.recent[key] = append(s.recent[key], forced{s.clock() + window, may})
		} else if n := s.sessions[key]; n > want { // sessions end by themselves, one after the other
			s.sessions[key] -= 1 + s.w.rnd.IntN(n-want)
		} else {
			s.sessions[key] = max(n, min(want, may))
			if want > may && n > 0 && s.w.rnd.IntN(3) == 0 {
				s.sessions[key] = max(n-1, min(want, may)) // a session ends, and another takes its place if it may
			}
		}
		s.refused[key] = s.refused[key] || want > s.sessions[key]
		s.peak[key] = max(s.peak[key], s.sessions[key])
	}
}

// step runs the node once.
func (s *simNode) step() {
	if !s.alive || s.paused > 0 {
		return
	}
	s.follow()
	usage := map[string]Usage{}
	for _, key := range s.w.keys {
		u := Usage{Limit: s.limit[key], InUse: s.sessions[key], Peak: s.peak[key], Refused: s.refused[key]}
		if KindOf(key) == Rate {
			u.InUse = 0
		}
		if u.Limit > 0 {
			usage[key] = u
		}
		s.peak[key], s.refused[key] = s.sessions[key], false
	}
	r := s.node.Step(usage, s.live(), s.clock())
	s.allowed, s.deadline = r.Allowed, r.Deadline
	for key, a := range r.Allowed {
		if a.End && KindOf(key) != Rate {
			s.sessions[key] = min(s.sessions[key], a.Part)
		}
	}
	if r.Txn == nil {
		return
	}
	if s.stick {
		s.stick = false
		s.w.stuck = append(s.w.stuck, *r.Txn)
		s.node.Done(0, fleettest.ErrUnavailable, s.clock())
		return
	}
	revision, err := s.client.Commit(context.Background(), *r.Txn)
	if err == nil {
		s.w.beaten++
	}
	s.node.Done(revision, err, s.clock())
}

// follow takes over what the store has changed.
func (s *simNode) follow() {
	for s.changes != nil {
		select {
		case c, ok := <-s.changes:
			if !ok || c.Err != nil {
				s.stop()
				s.changes = nil
				continue
			}
			s.node.Change(c, s.clock())
			continue
		default:
		}
		return
	}
	snapshot, err := s.client.Load(context.Background())
	if err != nil {
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	if changes, err := s.client.Watch(ctx, snapshot.Revision); err == nil {
		s.node.Load(snapshot, s.clock())
		s.changes, s.stop = changes, stop
		return
	}
	stop()
}

func (s *simNode) live() map[string]bool {
	live := map[string]bool{}
	for _, o := range s.w.nodes {
		if o.alive && !o.cut && !s.blind[o.name] {
			live[o.name] = true
		}
	}
	return live
}

// run lets time pass.
func (w *world) run(d time.Duration, check func()) {
	for end := w.now + d; w.now < end; {
		w.now += simTick
		for _, i := range w.rnd.Perm(len(w.nodes)) {
			s := w.nodes[i]
			s.admit()
			check()
			s.step()
			check()
			s.admit()
			check()
		}
	}
}

// held returns what the store says that each node holds.
func (w *world) held(key string) map[string]Part {
	if at := w.store.Revision(); w.ledger == nil || at != w.ledgerAt {
		w.ledger, w.ledgerAt = map[string]map[string]Part{}, at
		for _, r := range w.store.Records() {
			if p, err := decodeParts(r); err == nil {
				maps.Copy(w.ledger, p.Limits)
			}
		}
	}
	return w.ledger[key]
}

// violation describes a node that may use more than it holds, or parts above the limit; "" = none.
func (w *world) violation() string {
	for _, key := range w.keys {
		parts := w.held(key)
		if sum := held(parts); sum > w.most[key] {
			return fmt.Sprintf("%s: parts %v exceed %d", key, parts, w.most[key])
		}
		for _, s := range w.nodes {
			if !s.alive {
				continue
			}
			use := s.sessions[key]
			if s.limit[key] == 0 {
				continue
			}
			if s.paused == 0 || KindOf(key) == PerSource || s.deadline == 0 || s.clock() < s.deadline {
				use = max(use, s.may(key))
			}
			if KindOf(key) == Rate {
				use = s.may(key)
				s.recent[key] = slices.DeleteFunc(s.recent[key], func(f forced) bool { return f.until < s.clock() })
				for _, f := range s.recent[key] {
					use = max(use, f.part)
				}
			}
			if use > parts[s.name].Held {
				return fmt.Sprintf("%s: node %s may use %d (%d sessions), holds %d of %v", key, s.name, use, s.sessions[key], parts[s.name].Held, slices.Sorted(maps.Keys(parts)))
			}
		}
	}
	return ""
}
