package balance

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// Layers is everything that is known about a server. Each field is written by one layer. A copy is independent: what
// its pointers and slice refer to never changes in place.
type Layers struct {
	Configured  AdminState
	Weight      int // configured, in the first level of the server
	MaxSessions int // configured

	Override      Override
	Agent         AgentAdvice
	Checks        []Verdict // sorted by ID; an unchecked server is up
	Passive       PassiveState
	PassiveReason string
	Unresolved    bool

	Wanted     Wanted // by the cluster
	Role       Role
	RoleReason string
	Reserve    bool // the primary of a cluster that prefers replicas, while a replica is up
	RoleLost   bool // see Wanted.Lost

	Votes Votes // of other instances

	// When each layer was last set; 0 = never, negative = in an earlier process.
	OverrideAt, AgentAt, PassiveAt, ResolverAt, TopologyAt, VotesAt time.Duration
}

// Override is what an operator set at run time. Nil fields set nothing. The zero value removes the override.
type Override struct {
	State       *AdminState
	Weight      *int
	MaxSessions *int
	Deadline    time.Duration // of a drain: its sessions are then closed; 0 = none
	Note        string        // why, shown as the reason
	By          string        // who asked, for display
}

// AgentAdvice is the combined advice of an agent. The zero value is neutral: the agent has reported nothing, or its
// advice has expired. It replaces earlier advice as a whole. The caller carries over the kinds of words that a reply
// does not mention.
type AgentAdvice struct {
	Down        bool       // the agent reported down, fail or stopped
	Admin       AdminState // Ready if the agent reported none
	Percent     *int       // of the configured weight
	Weight      *int       // absolute; takes precedence over Percent
	MaxSessions *int       // 0 = no limit
	Reason      string
}

// Verdict is the verdict of one monitor on one server, after rise and fall.
type Verdict struct {
	ID      string
	State   State // Up, Full, Standby or Down
	Initial bool  // Down because the monitor has not passed yet (initial = "down")
	Reason  string
	At      time.Duration // when it last changed

	passed    time.Duration // time of the last passing result while the verdict was up; 0 = none
	failing   time.Duration // time of the first of the current failing results; 0 = none
	passBegan time.Duration // when the last run that passed began; 0 = none has passed
}

// Text returns the reason of a state that the verdict decides: the monitor's ID and the reason.
func (v Verdict) Text() string {
	if v.Reason == "" {
		return v.ID
	}
	return v.ID + ": " + v.Reason
}

// withVerdict returns a copy of list with v set. works reports whether the result that led to v found the server working.
// list is unchanged, because snapshots may share it.
func withVerdict(list []Verdict, v Verdict, works bool) []Verdict {
	now := v.At
	i, found := slices.BinarySearchFunc(list, v.ID, func(v Verdict, id string) int { return cmp.Compare(v.ID, id) })
	list = slices.Clone(list)
	if !found {
		list = slices.Insert(list, i, v)
	}
	was := list[i]
	if was.State == v.State {
		v.At = was.At
	}
	v.Initial = was.Initial && v.State != Up
	v.passed, v.failing, v.passBegan = was.passed, was.failing, max(was.passBegan, v.passBegan)
	switch {
	case works:
		v.passed, v.failing = now, 0
	case v.failing == 0:
		v.failing = now
	}
	list[i] = v
	return list
}

// maxWeight is the upper limit for a percentage of a weight: the largest weight that can be configured.
const maxWeight = 256

// weight returns a server's weight before slow start and back-off: the override, else the agent's weight, else the
// agent's percentage of the configured weight, else the configured weight. A percentage is rounded to the nearest
// integer. It never turns a positive weight into 0 and never raises one above maxWeight.
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

// clone returns a copy with its own pointers.
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
	return new(*p)
}
