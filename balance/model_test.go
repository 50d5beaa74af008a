package balance

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// This test runs random operations on a cluster and compares every result with what is known from outside:
// an earlier snapshot, the session's earlier attempts, and the number of leases that are out.

type model struct {
	c        *Cluster
	spec     Spec
	now      time.Duration
	sessions []*attemptedSession
	waiters  []*waiting
	leases   map[*Server]int
	verdicts map[string]bool // down
	admin    map[string]AdminState
}

// attemptedSession is a session with the lease of its latest attempt.
type attemptedSession struct {
	attempts *Attempts
	tried    []triedAt
	lease    Lease

	resorts int // of the servers tried
}

type triedAt struct {
	level  int
	server *Server
}

type waiting struct {
	*attemptedSession
	w     *Waiter
	woken bool
}

var names = []string{"A", "B", "C", "D", "E"}

func drawSpec(t *rapid.T) Spec {
	spec := Spec{
		Name:      "c",
		Method:    rapid.SampledFrom([]Method{Wrr, Rr, LeastSessions, Random, First, LeastTime}).Draw(t, "method"),
		Try:       rapid.SampledFrom([]int{0, 0, 0, 2}).Draw(t, "try"),
		Protected: rapid.Bool().Draw(t, "protected"),
		Queue:     rapid.Bool().Draw(t, "queue"),
		SlowStart: rapid.SampledFrom([]time.Duration{0, 5 * sec}).Draw(t, "slow start"),
	}
	for range rapid.IntRange(1, 3).Draw(t, "levels") {
		l := LevelSpec{MinUp: rapid.IntRange(0, 2).Draw(t, "min_up"), Try: rapid.SampledFrom([]int{0, 0, 1}).Draw(t, "level try")}
		for _, name := range names {
			if rapid.IntRange(0, 2).Draw(t, name) == 0 {
				continue
			}
			l.Servers = append(l.Servers, ServerSpec{Name: name, Address: name,
				Weight:      rapid.SampledFrom([]int{0, 1, 1, 2, 7}).Draw(t, "weight"),
				MaxFails:    rapid.IntRange(0, 2).Draw(t, "max_fails"),
				FailTimeout: 2 * sec,
				MaxSessions: rapid.SampledFrom([]int{0, 0, 1, 3}).Draw(t, "max_sessions"),
			})
		}
		spec.Levels = append(spec.Levels, l)
	}
	return spec
}

// candidates returns, according to a snapshot, the servers of a level that a session may get, whether one is
// full; and how many are eligible and untried.
func (w *model) candidates(level int, state LevelState, r *attemptedSession) (open []string, full bool, eligible int) {
	weighted := false
	for _, s := range state.Servers {
		if !s.State.Eligible() || slices.Contains(r.tried, triedAt{level, w.c.Server(s.Name)}) {
			continue
		}
		eligible++
		atLimit := s.MaxSessions > 0 && s.Sessions >= s.MaxSessions
		full = full || atLimit
		if atLimit || s.Probing {
			continue
		}
		open = append(open, s.Name)
		weighted = weighted || s.Weight > 0
	}
	return slices.DeleteFunc(open, func(name string) bool {
		for _, s := range state.Servers {
			if s.Name == name {
				return weighted && s.Weight == 0
			}
		}
		return true
	}), full, eligible
}

// checkPick compares the result of a pick with the rules.
func (w *model) checkPick(t *rapid.T, before ClusterState, r *attemptedSession, lease Lease, err error) {
	total, anyFull := 0, false
	for _, l := range before.Levels {
		total += len(l.Servers)
	}
	if try := w.spec.Try; len(r.tried) > 0 && (try > 0 && len(r.tried) >= try || try == 0 && len(r.tried) >= total) {
		require.ErrorIs(t, err, ErrNoAttemptsLeft)
		return
	}
	for _, enough := range []bool{true, false} {
		for i, l := range before.Levels {
			open, full, eligible := w.candidates(i, l, r)
			spent := 0
			for _, a := range r.tried {
				spent += count(a.level == i)
			}
			if try := w.spec.Levels[i].Try; eligible == 0 || enough != (eligible >= max(1, w.spec.Levels[i].MinUp)) || try > 0 && spent >= try {
				continue
			}
			if len(open) > 0 {
				require.NoError(t, err)
				require.Equal(t, i, lease.Level())
				require.Contains(t, open, lease.Server().Name())
				return
			}
			if full && w.spec.Queue {
				require.ErrorIs(t, err, ErrFull)
				return
			}
			anyFull = anyFull || full
		}
	}
	switch {
	case anyFull:
		require.ErrorIs(t, err, ErrFull)
	case err == nil:
		require.True(t, w.spec.Protected, "only protection gives more")
		if lease.Server().published.State != Probation {
			require.Contains(t, w.lastResorts(before, r), lease.Server().Name())
			r.resorts++
		}
	default:
		require.ErrorIs(t, err, ErrNoServer)
		require.Empty(t, w.lastResorts(before, r))
	}
}

// lastResorts returns the servers that a session may get as a last resort.
func (w *model) lastResorts(before ClusterState, r *attemptedSession) (names []string) {
	if !w.spec.Protected || len(r.tried) == 0 || r.resorts == maxLastResorts {
		return nil
	}
	for i, l := range before.Levels {
		spent := 0
		for _, a := range r.tried {
			spent += count(a.level == i)
		}
		if try := w.spec.Levels[i].Try; try > 0 && spent >= try {
			continue
		}
		for _, s := range l.Servers {
			if s.State == Failing && (s.MaxSessions == 0 || s.Sessions < s.MaxSessions) && !slices.Contains(r.tried, triedAt{i, w.c.servers[s.Name]}) {
				names = append(names, s.Name)
			}
		}
	}
	return names
}

func (w *model) pick(t *rapid.T, r *attemptedSession) {
	w.c.Tick(w.now)
	w.collectWoken(t)
	before := w.c.Snapshot(w.now)
	lease, err := w.c.Pick(w.now, r.attempts)
	w.checkPick(t, before, r, lease, err)
	if err == nil {
		w.recordLease(r, lease)
		w.sessions = append(w.sessions, r)
		return
	}
	require.Equal(t, Lease{}, lease)
	if err == ErrFull && w.spec.Queue {
		entry := &waiting{attemptedSession: r, w: &Waiter{}}
		w.c.Wait(w.now, r.attempts, entry.w, func() { entry.woken = true })
		require.False(t, entry.woken, "nothing has changed since the pick")
		w.waiters = append(w.waiters, entry)
	}
}

func (w *model) recordLease(r *attemptedSession, lease Lease) {
	r.lease = lease
	r.tried = append(r.tried, triedAt{lease.Level(), lease.Server()})
	w.leases[lease.Server()]++
}

// collectWoken records the results of waiters that were woken.
func (w *model) collectWoken(t *rapid.T) {
	w.waiters = slices.DeleteFunc(w.waiters, func(e *waiting) bool {
		if !e.woken {
			return false
		}
		if e.w.Lease.Server() != nil {
			w.recordLease(e.attemptedSession, e.w.Lease)
			w.sessions = append(w.sessions, e.attemptedSession)
		}
		return true
	})
}

// drawSession removes a session with a lease from the model and returns it, or nil.
func (w *model) drawSession(t *rapid.T) *attemptedSession {
	if len(w.sessions) == 0 {
		return nil
	}
	i := rapid.IntRange(0, len(w.sessions)-1).Draw(t, "session")
	r := w.sessions[i]
	w.sessions = slices.Delete(w.sessions, i, i+1)
	return r
}

func (w *model) recordRelease(r *attemptedSession) { w.leases[r.lease.Server()]-- }

func TestRandomOperationsMatchModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &model{leases: map[*Server]int{}, verdicts: map[string]bool{}, admin: map[string]AdminState{}}
		w.spec = drawSpec(t)
		w.c = New(w.spec, 1, func(Event) {})
		name := func() string { return rapid.SampledFrom(names).Draw(t, "server") }
		t.Repeat(map[string]func(*rapid.T){
			"time": func(t *rapid.T) {
				w.now += time.Duration(rapid.Int64Range(0, int64(3*sec)).Draw(t, "later"))
				w.c.Tick(w.now)
			},
			"pick": func(t *rapid.T) { w.pick(t, &attemptedSession{attempts: &Attempts{}}) },
			"fail": func(t *rapid.T) {
				if r := w.drawSession(t); r != nil {
					w.recordRelease(r)
					r.lease.Fail(w.now, "refused")
					w.collectWoken(t)
					w.pick(t, r)
				}
			},
			"established": func(t *rapid.T) {
				if r := w.drawSession(t); r != nil {
					r.lease.Established(w.now, time.Millisecond)
					w.sessions = append(w.sessions, r)
				}
			},
			"done, twice and by a copy": func(t *rapid.T) {
				if r := w.drawSession(t); r != nil {
					w.recordRelease(r)
					copied := r.lease
					r.lease.Done(w.now)
					r.lease.Done(w.now)
					copied.Fail(w.now, "refused")
				}
			},
			"check": func(t *rapid.T) {
				s, down := name(), rapid.Bool().Draw(t, "down")
				w.c.SetCheck(s, "tcp", !down, "", w.now)
				if w.c.Server(s) != nil {
					w.verdicts[s] = down
				}
			},
			"override": func(t *rapid.T) {
				s := name()
				o := Override{State: pointerTo(rapid.SampledFrom([]AdminState{Ready, Ready, Drain, Maint}).Draw(t, "state"))}
				if rapid.Bool().Draw(t, "weighs") {
					o.Weight = pointerTo(rapid.IntRange(0, 9).Draw(t, "weight"))
				}
				w.c.SetOverride(s, o, w.now)
				if w.c.Server(s) != nil {
					w.admin[s] = *o.State
				}
			},
			"feedback": func(t *rapid.T) { w.c.Feedback(name(), rapid.Bool().Draw(t, "failed"), w.now) },
			"reload": func(t *rapid.T) {
				if rapid.Bool().Draw(t, "changed") {
					w.spec = drawSpec(t)
				}
				p := w.c.Prepare(w.spec)
				w.c.Commit(p, w.now)
				for _, n := range names {
					if w.c.Server(n) == nil {
						delete(w.verdicts, n)
						delete(w.admin, n)
					}
				}
				for i := range w.sessions { // levels are identified by number: earlier attempts no longer apply
					w.sessions[i] = &attemptedSession{attempts: &Attempts{}, lease: w.sessions[i].lease}
				}
				for _, e := range w.waiters {
					if !e.woken {
						w.c.CancelWait(e.w, w.now)
					}
				}
				w.waiters = slices.DeleteFunc(w.waiters, func(e *waiting) bool { return !e.woken })
			},
			"leave": func(t *rapid.T) {
				if len(w.waiters) > 0 {
					i := rapid.IntRange(0, len(w.waiters)-1).Draw(t, "waiter")
					w.c.CancelWait(w.waiters[i].w, w.now)
					w.waiters = slices.Delete(w.waiters, i, i+1)
				}
			},
			"": func(t *rapid.T) {
				w.collectWoken(t)
				w.checkInvariants(t)
			},
		})
		for len(w.sessions) > 0 {
			w.recordRelease(w.sessions[0])
			w.sessions[0].lease.Done(w.now)
			w.sessions = w.sessions[1:]
			w.collectWoken(t)
		}
		w.checkInvariants(t)
		require.Zero(t, w.c.Snapshot(w.now).Leases)
	})
}
