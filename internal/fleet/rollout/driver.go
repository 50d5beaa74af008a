package rollout

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Time limits of a roll-out.
const (
	VoteTimeout     = 15 * time.Second
	ApplyTimeout    = 15 * time.Second
	takeoverTimeout = 8 * time.Second // for the rest, after another node has taken over
	takeoverDelay   = time.Second     // per node that comes first
	maxTakeover     = 5               // nodes that are waited for
	stepInterval    = time.Second     // between two looks at the figures
)

// View is what the store has. Live are the nodes with a lease that share the configuration, by name, with their instances.
type View struct {
	Record  *Record // nil = none
	Live    map[string]string
	Reports map[string]Report
}

// Driver decides for one node what to write to the record. It is used by one goroutine.
type Driver struct {
	self Member

	seen       stage                    // the part of the roll-out that the fields below are about
	since      time.Duration            // when it was first seen
	vanished   time.Duration            // when the driver was first missing; -1 = it is there
	applied    time.Duration            // when all watched nodes had applied the revision; -1 = not yet
	lives      map[string]string        // instances of all nodes, at since
	base       map[string]Figures       // of all nodes, at applied
	newProblem map[string]time.Duration // since when, by node and problem
}

// stage identifies a part of a roll-out.
type stage struct {
	id      uint64
	phase   Phase
	targets int
	driver  Member
}

// NewDriver returns the driver of a node.
func NewDriver(self Member) *Driver { return &Driver{self: self, vanished: -1} }

// Next returns the record to write in place of the one in the view, or nil, and after which time to call it again without a
// change; 0 = never. now is a monotonic clock.
func (d *Driver) Next(now time.Duration, at time.Time, v View) (*Record, time.Duration) {
	r := v.Record
	if r == nil || !r.Phase.Active() {
		d.seen = stage{}
		return nil, 0
	}
	if s := (stage{r.ID, r.Phase, len(r.Targets), r.Driver}); s != d.seen {
		d.seen, d.since, d.vanished, d.applied = s, now, -1, -1
		d.lives, d.base, d.newProblem = maps.Clone(v.Live), map[string]Figures{}, map[string]time.Duration{}
	}
	if r.Driver != d.self {
		return d.takeOver(now, at, v), stepInterval
	}
	if r.Phase == Validating {
		return d.countVotes(now, at, v), stepInterval
	}
	next := d.watch(now, at, v)
	if left := d.applied + r.Pause - now; next == nil && d.applied >= 0 && left > 0 {
		return nil, min(left, stepInterval)
	}
	return next, stepInterval
}

// takeOver returns the record with which this node replaces a driver that has left, or nil. What no canary has proven is
// rolled back; else the rest follows at once.
func (d *Driver) takeOver(now time.Duration, at time.Time, v View) *Record {
	r := v.Record
	if v.Live[r.Driver.Node] == r.Driver.Instance {
		d.vanished = -1
		return nil
	}
	if d.vanished < 0 {
		d.vanished = now
	}
	rank := min(slices.Index(sorted(v.Live), d.self.Node), maxTakeover)
	if v.Live[d.self.Node] != d.self.Instance || now < d.vanished+time.Duration(rank)*takeoverDelay {
		return nil
	}
	why := Reason{Node: r.Driver.Node, Text: "left the fleet while it drove the roll-out"}
	switch r.Phase {
	case Validating:
		return r.finished(Refused, why, at)
	case Canary:
		return r.finished(RolledBack, why, at)
	}
	if r.Takeover { // the second one
		return r.finished(RolledBack, why, at)
	}
	n := *r
	n.Driver, n.Takeover, n.Phase, n.Watched = d.self, true, Rest, nil
	return &n
}

// countVotes ends the phase validating when every live node has voted.
func (d *Driver) countVotes(now time.Duration, at time.Time, v View) *Record {
	r := v.Record
	missing := ""
	for _, node := range sorted(v.Live) {
		switch vote := v.Reports[node].Vote; {
		case vote.ID != r.ID:
			missing = node
		case vote.Error != "":
			return r.finished(Refused, Reason{node, vote.Error}, at)
		}
	}
	switch {
	case len(v.Live) == 0: // this node has lost its own lease
		return nil
	case missing != "" && now >= d.since+VoteTimeout:
		return r.finished(Refused, Reason{missing, fmt.Sprintf("no vote within %s", VoteTimeout)}, at)
	case missing != "":
		return nil
	}
	n := *r
	if n.Phase = Canary; r.Canaries == 0 {
		n.Phase = Rest
		return &n
	}
	n.add(v, r.Canaries)
	return &n
}

// add adds nodes to the targets: those that serve clients first. If few or none are left over, the phase is rest.
func (r *Record) add(v View, count int) {
	left := slices.DeleteFunc(sorted(v.Live), func(node string) bool { return slices.Contains(r.Targets, node) })
	slices.SortStableFunc(left, func(a, b string) int { return idle(v.Reports[a]) - idle(v.Reports[b]) })
	if r.Phase == Step && count >= len(left) || len(r.Targets)+count > maxInStep {
		r.Phase, r.Watched = Rest, nil
		return
	}
	r.Watched = left[:min(count, len(left))]
	r.Targets = append(slices.Clone(r.Targets), r.Watched...)
}

// idle returns 1 for a node whose clients cannot prove a configuration: it had none in the last minute.
func idle(r Report) int {
	if r.Before.Sessions == 0 {
		return 1
	}
	return 0
}

// watch ends a phase in which nodes apply the revision: when they have run it for the pause, or when one has failed.
func (d *Driver) watch(now time.Duration, at time.Time, v View) *Record {
	r := v.Record
	watched, timeout := r.Watched, ApplyTimeout
	if r.Phase == Rest {
		watched = sorted(v.Live)
	}
	pause := r.Pause
	if r.Takeover {
		timeout, pause = takeoverTimeout, 0
	}
	for _, node := range watched {
		report, live := v.Reports[node]
		switch {
		case v.Live[node] == "":
			return r.finished(RolledBack, Reason{node, fmt.Sprintf("left the fleet in the phase %s", r.Phase)}, at)
		case live && report.Failure.ID == r.ID && report.Failure.Revision == r.To:
			return r.finished(RolledBack, Reason{node, "cannot apply the revision: " + report.Failure.Error}, at)
		case r.Phase != Rest && d.lives[node] != "" && d.lives[node] != v.Live[node]:
			return r.finished(RolledBack, Reason{node, fmt.Sprintf("restarted in the phase %s", r.Phase)}, at)
		case (!live || report.Runs != r.To) && now >= d.since+timeout:
			return r.finished(RolledBack, Reason{node, fmt.Sprintf("revision not applied within %s", timeout)}, at)
		case !live || report.Runs != r.To:
			return nil
		}
	}
	if d.applied < 0 {
		d.applied = now
		for node, report := range v.Reports {
			d.base[node] = report.Now
		}
	}
	ending := now >= d.applied+pause
	for _, node := range watched {
		if !r.Takeover {
			if text := d.judge(now, node, r, v, ending); text != "" {
				return r.finished(RolledBack, Reason{node, text}, at)
			}
		}
	}
	switch {
	case !ending || len(watched) == 0:
		return nil
	case r.Phase == Rest:
		return r.finished(Done, Reason{}, at)
	}
	n := *r
	n.Phase = Step
	n.add(v, max(1, len(r.Targets)))
	return &n
}

func sorted[K cmp.Ordered, T any](m map[K]T) []K { return slices.Sorted(maps.Keys(m)) }
