package balance

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// Layers is everything that is known about a server, each field written by its own layer alone. A copy is independent:
// what the pointers and the slice lead to is never changed in place.
type Layers struct {
	Configured  AdminState
	Weight      int // configured, in the level of the first appearance
	MaxSessions int // configured

	Override      Override
	Agent         AgentAdvice
	Checks        []Verdict // sorted by ID; none = unchecked = up
	Passive       PassiveState
	PassiveReason string
	Unresolved    bool

	// When each layer last spoke; 0 = never, and below it = to an earlier process.
	OverrideAt, AgentAt, PassiveAt, ResolverAt time.Duration
}

// Override is what an operator said at run time. Nil fields say nothing; the zero value takes an override back.
type Override struct {
	State       *AdminState
	Weight      *int
	MaxSessions *int
	Note        string // who and why, shown as the reason
}

// AgentAdvice is all that an agent's words amount to so far. The zero value is neutral: an agent that has said nothing,
// or whose word has outlived its ttl. It replaces earlier advice as a whole, so whoever reads the agent's lines carries
// over the kinds of words that a line does not mention.
type AgentAdvice struct {
	Down        bool       // it said down, fail or stopped
	Admin       AdminState // Ready also when it said nothing
	Percent     *int       // of the configured weight
	Weight      *int       // absolute; stands before Percent
	MaxSessions *int       // 0 = no limit
	Reason      string
}

// Verdict is one monitor's word on one server, after rise and fall.
type Verdict struct {
	ID     string
	Up     bool
	Reason string
	At     time.Duration // when it last changed

	passed  time.Duration // when the last result came that spoke for the server while it was up; 0 = none has
	failing time.Duration // when the first of the results came that speak against it now; 0 = none does
}

func (v Verdict) text() string {
	if v.Reason == "" {
		return v.ID
	}
	return v.ID + ": " + v.Reason
}

// withVerdict returns the list with v in it, which a result has led to that passed or did not. The old list is left as it
// was: snapshots may share it.
func withVerdict(list []Verdict, v Verdict, pass bool) []Verdict {
	now := v.At
	i, found := slices.BinarySearchFunc(list, v.ID, func(v Verdict, id string) int { return cmp.Compare(v.ID, id) })
	list = slices.Clone(list)
	if !found {
		list = slices.Insert(list, i, v)
	}
	was := list[i]
	if was.Up == v.Up {
		v.At = was.At
	}
	v.passed, v.failing = was.passed, was.failing
	switch {
	case pass:
		v.passed, v.failing = now, 0
	case v.failing == 0:
		v.failing = now
	}
	list[i] = v
	return list
}

// maxWeight is the most that a percentage of a weight comes to: the largest weight that can be configured.
const maxWeight = 256

// weight returns a server's weight before slow start and back-off: the override, else what the agent makes of the
// configured one. A percentage is rounded to the nearest, never from something to nothing, and never raised above maxWeight.
func (l *Layers) weight(configured int) int {
	switch {
	case l.Override.Weight != nil:
		return max(0, *l.Override.Weight)
	case l.Agent.Weight != nil:
		return max(0, *l.Agent.Weight)
	case l.Agent.Percent != nil:
		p := max(0, *l.Agent.Percent)
		w := int(math.Round(float64(configured) * float64(p) / 100))
		if w == 0 && p > 0 && configured > 0 {
			return 1
		}
		return min(w, max(maxWeight, configured))
	}
	return configured
}

// maxSessions returns a server's limit before slow start; 0 = none.
func (l *Layers) maxSessions() int {
	switch {
	case l.Override.MaxSessions != nil:
		return max(0, *l.Override.MaxSessions)
	case l.Agent.MaxSessions != nil:
		return max(0, *l.Agent.MaxSessions)
	}
	return l.MaxSessions
}

// clone returns the override with pointers of its own.
func (o Override) clone() Override {
	o.State, o.Weight, o.MaxSessions = clonePointer(o.State), clonePointer(o.Weight), clonePointer(o.MaxSessions)
	return o
}

func (a AgentAdvice) clone() AgentAdvice {
	a.Percent, a.Weight, a.MaxSessions = clonePointer(a.Percent), clonePointer(a.Weight), clonePointer(a.MaxSessions)
	return a
}

func clonePointer[T any](p *T) *T {
	if p == nil {
		return nil
	}
	v := *p
	return &v
}
