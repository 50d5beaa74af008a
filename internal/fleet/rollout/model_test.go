package rollout

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"weir/internal/fleet"
)

// modelTTL is that of the leases of the model, and tick its time step.
const (
	modelTTL = 10 * time.Second
	tick     = 500 * time.Millisecond
)

// modelFleet is a store with the nodes that use it. Time passes in ticks; in each one every running node that reaches the
// store reads it, then writes.
type modelFleet struct {
	now      time.Duration
	record   *Record
	modified int
	seen     map[string]time.Duration // by node: when its lease was renewed
	live     map[string]string
	reports  map[string]Report
	traits   map[int]trait // by revision
	nodes    []*modelNode
	absent   time.Duration // since when the driver is dead or cannot reach the store; -1 = it is there
	begun    map[uint64]string
}

// trait is what is wrong with a revision.
type trait struct {
	votesNo, cannotApply, crashes, sick map[string]bool // by node
}

// modelNode is a node. runs outlives a restart.
type modelNode struct {
	name      string
	life      int
	up        bool
	reachable bool
	drained   bool
	runs      int
	follower  *Follower
	driver    *Driver
	figures   Figures
	applied   Figures
	crashed   map[int]bool
}

func (n *modelNode) instance() string { return fmt.Sprint(n.life) }

func (n *modelNode) start() {
	n.life++
	n.up, n.figures, n.applied = true, Figures{}, Figures{}
	n.follower = NewFollower(n.name, n.runs)
	n.driver = NewDriver(Member{n.name, n.instance()})
}

func newModelFleet(count int) *modelFleet {
	m := &modelFleet{
		seen: map[string]time.Duration{}, live: map[string]string{}, reports: map[string]Report{}, traits: map[int]trait{},
		absent: -1, begun: map[uint64]string{},
	}
	for i := range count {
		n := &modelNode{name: fmt.Sprintf("node%d", i), reachable: true, crashed: map[int]bool{}}
		n.start()
		m.nodes = append(m.nodes, n)
	}
	return m
}

// commit replaces the record if it is still the one that the writer has seen.
func (m *modelFleet) commit(t require.TestingT, next *Record, modified int) {
	if modified != m.modified {
		return
	}
	if next.ID != idOf(m.record) {
		require.False(t, m.record != nil && m.record.Phase.Active(), "two roll-outs at once")
	}
	decoded, err := DecodeRecord(fleet.Record{Value: next.Encode()})
	require.NoError(t, err)
	m.record = decoded
	m.modified++
}

func idOf(r *Record) uint64 {
	if r == nil {
		return 0
	}
	return r.ID
}

// advance lets one tick pass.
func (m *modelFleet) advance(t require.TestingT) {
	m.now += tick
	for name, at := range m.seen {
		if m.now > at+modelTTL {
			delete(m.live, name)
			delete(m.reports, name)
			delete(m.seen, name)
		}
	}
	for _, n := range m.nodes {
		if n.up {
			m.work(t, n)
		}
	}
	m.checkTakeover(t)
}

// work is what a node does in a tick.
func (m *modelFleet) work(t require.TestingT, n *modelNode) {
	if !n.drained {
		n.figures.Sessions += 10
	}
	if m.traits[n.runs].sick[n.name] {
		n.figures.Failed += 5
	}
	if !n.reachable {
		return
	}
	if life, known := m.live[n.name]; known && life != n.instance() {
		return // the lease of its earlier life has not ended
	}
	m.live[n.name], m.seen[n.name] = n.instance(), m.now
	task, _ := n.follower.Next(m.now, m.record)
	switch {
	case task.Vote:
		var err error
		if m.traits[m.record.To].votesNo[n.name] {
			err = fmt.Errorf("revision %d, line 1: bad", m.record.To)
		}
		n.follower.Voted(m.record, "1 step", err)
	case task.Apply:
		revision := m.record.Wanted(n.name)
		if m.traits[revision].crashes[n.name] && !n.crashed[revision] {
			n.crashed[revision], n.up = true, false
			return
		}
		var err error
		if m.traits[revision].cannotApply[n.name] {
			err = fmt.Errorf("address in use")
		}
		n.follower.Applied(m.now, m.record, revision, err)
		if n.runs != n.follower.Runs() {
			n.runs, n.applied = n.follower.Runs(), n.figures
		}
	}
	report := n.follower.Report(n.instance())
	report.Before, report.Applied, report.Now = Figures{Sessions: 100}, n.applied, n.figures
	if task != (Task{}) {
		decoded, err := DecodeReport(fleet.Record{Value: report.Encode()})
		require.NoError(t, err)
		report = decoded
	}
	m.reports[n.name] = report
	view := View{Record: m.record, Live: m.live, Reports: m.reports}
	if next, _ := n.driver.Next(m.now, time.Unix(0, int64(m.now)), view); next != nil {
		m.commit(t, next, m.modified)
	}
}

// checkTakeover requires the end of a roll-out whose driver is gone within ttl + 15 s, if another node could do it.
func (m *modelFleet) checkTakeover(t require.TestingT) {
	r := m.record
	present := false
	if r != nil && r.Phase.Active() {
		for _, n := range m.nodes {
			present = present || n.name == r.Driver.Node && n.instance() == r.Driver.Instance && n.up && n.reachable
		}
		if r.Takeover { // the time of the first driver counts
			present = false
		}
	}
	switch {
	case r == nil || !r.Phase.Active() || present || !m.steady():
		m.absent = -1
	case m.absent < 0:
		m.absent = m.now
	}
	if m.absent >= 0 {
		require.LessOrEqual(t, m.now-m.absent, modelTTL+15*time.Second, "roll-out without an end: %+v", r)
	}
}

// agreed reports whether all nodes run the revision in force, unless one was away during its roll-out and cannot apply it.
func (m *modelFleet) agreed() bool {
	current := m.record.Current()
	for _, n := range m.nodes {
		if n.runs != current && !m.traits[current].cannotApply[n.name] {
			return false
		}
	}
	return true
}

// steady reports whether a node with a lease is up and reaches the store; otherwise no roll-out can end.
func (m *modelFleet) steady() bool {
	for _, n := range m.nodes {
		if n.up && n.reachable && m.live[n.name] == n.instance() {
			return true
		}
	}
	return false
}

// set draws some of the nodes.
func (m *modelFleet) set(t *rapid.T, label string) map[string]bool {
	set := map[string]bool{}
	if rapid.IntRange(0, 3).Draw(t, label+"?") > 0 {
		return set
	}
	for _, n := range m.nodes {
		set[n.name] = rapid.Bool().Draw(t, label+" "+n.name)
	}
	return set
}

// request returns a request of an operator at a node.
func (m *modelFleet) request(t *rapid.T, n *modelNode) Request {
	return Request{
		By: "operator at " + n.name, Canaries: rapid.IntRange(0, 3).Draw(t, "canaries"), Driver: Member{n.name, n.instance()}, At: time.Unix(0, int64(m.now)),
		Pause: time.Duration(rapid.IntRange(0, 30).Draw(t, "pause")) * time.Second,
	}
}

// TestFleetAgreesAfterFailures requires that all nodes run one revision, and no roll-out is left, after random deaths,
// partitions, bad revisions and operators.
func TestFleetAgreesAfterFailures(t *testing.T) {
	phases := map[Phase]int{}
	takeovers := 0
	rapid.Check(t, func(t *rapid.T) {
		m := newModelFleet(rapid.IntRange(1, 6).Draw(t, "nodes"))
		disturb := map[string]func(*modelNode){
			"kill":  func(n *modelNode) { n.up = false },
			"start": func(n *modelNode) { restart(n) },
			"restart at once": func(n *modelNode) {
				n.up = false
				restart(n)
			},
			"cut":   func(n *modelNode) { n.reachable = false },
			"heal":  func(n *modelNode) { n.reachable = true },
			"drain": func(n *modelNode) { n.drained = !n.drained },
			"apply": func(n *modelNode) {
				if !n.up || !n.reachable {
					return
				}
				next, err := Begin(m.record, m.request(t, n))
				if m.record != nil && m.record.Phase.Active() {
					require.ErrorContains(t, err, m.record.By)
					return
				}
				require.NoError(t, err)
				m.traits[next.To] = trait{m.set(t, "votes no"), m.set(t, "cannot apply"), m.set(t, "crashes"), m.set(t, "sick")}
				m.commit(t, next, m.modified)
			},
			"rollback": func(n *modelNode) {
				if !n.up || !n.reachable {
					return
				}
				if next, err := Undo(m.record, m.request(t, n)); err == nil {
					m.commit(t, next, m.modified)
				}
			},
		}
		disturb["reset"] = func(n *modelNode) {
			if !n.up || !n.reachable {
				return
			}
			if next, err := Clear(m.record, m.request(t, n)); err == nil {
				m.commit(t, next, m.modified)
			}
		}
		names := sorted(disturb)
		for range rapid.IntRange(1, 25).Draw(t, "events") {
			n := m.nodes[rapid.IntRange(0, len(m.nodes)-1).Draw(t, "node")]
			disturb[rapid.SampledFrom(names).Draw(t, "event")](n)
			m.absent = -1
			for range rapid.IntRange(0, 80).Draw(t, "ticks") {
				m.advance(t)
				if m.record != nil {
					phases[m.record.Phase]++
					if m.record.Takeover {
						takeovers++
					}
				}
			}
		}
		for quiet, left := 0, 10*60*2; quiet < 40 && left > 0; left-- { // at most ten minutes
			for _, n := range m.nodes {
				n.reachable = true
				restart(n)
			}
			m.advance(t)
			if quiet++; m.record != nil && (m.record.Phase.Active() || !m.agreed()) {
				quiet = 0
			}
		}
		if m.record == nil {
			return
		}
		require.False(t, m.record.Phase.Active(), "%+v", m.record)
		require.True(t, m.agreed(), "%+v", m.record)
	})
	for _, phase := range []Phase{Validating, Canary, Step, Rest, Done, Refused, RolledBack} {
		require.NotZero(t, phases[phase], "phase %s not reached", phase)
	}
	require.NotZero(t, takeovers)
}

func restart(n *modelNode) {
	if !n.up {
		n.start()
	}
}
