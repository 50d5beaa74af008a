package balance

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestStateTruthTable(t *testing.T) {
	bad := []Verdict{{ID: "mysql", State: Up}, {ID: "tcp", State: Down, Reason: "refused"}}
	for _, test := range []struct {
		name   string
		layers Layers
		want   Decision
	}{
		{"nothing set", Layers{}, Decision{}},
		{"configured maint", Layers{Configured: Maint}, Decision{State: InMaint, Layer: ByConfiguration, Reason: ""}},
		{"configured drain", Layers{Configured: Drain}, Decision{State: Draining, Layer: ByConfiguration, Reason: ""}},
		{"override of maint over everything", Layers{Configured: Drain, Override: Override{State: pointerTo(Maint), Note: "disk"}, Agent: AgentAdvice{Admin: Drain, Down: true}, Checks: bad, Unresolved: true}, Decision{State: InMaint, Layer: ByOverride, Reason: "disk"}},
		{"override of drain lifts a configured maint", Layers{Configured: Maint, Override: Override{State: pointerTo(Drain)}}, Decision{State: Draining, Layer: ByOverride, Reason: ""}},
		{"override of ready lifts a configured maint", Layers{Configured: Maint, Override: Override{State: pointerTo(Ready)}}, Decision{}},
		{"override of ready stands before the agent's drain", Layers{Override: Override{State: pointerTo(Ready)}, Agent: AgentAdvice{Admin: Drain}}, Decision{}},
		{"override of ready cancels no verdict", Layers{Configured: Maint, Override: Override{State: pointerTo(Ready)}, Checks: bad}, Decision{State: Down, Layer: ByChecks, Reason: "tcp: refused"}},
		{"agent's ready lifts no maint", Layers{Override: Override{State: pointerTo(Maint)}, Agent: AgentAdvice{Admin: Ready}}, Decision{State: InMaint, Layer: ByOverride, Reason: ""}},
		{"agent's maint", Layers{Agent: AgentAdvice{Admin: Maint, Reason: "backup"}}, Decision{State: InMaint, Layer: ByAgent, Reason: "backup"}},
		{"agent's maint over a configured drain", Layers{Configured: Drain, Agent: AgentAdvice{Admin: Maint}}, Decision{State: InMaint, Layer: ByAgent, Reason: ""}},
		{"agent's drain", Layers{Agent: AgentAdvice{Admin: Drain}}, Decision{State: Draining, Layer: ByAgent, Reason: ""}},
		{"override of weight alone leaves the agent's drain", Layers{Override: Override{Weight: pointerTo(3)}, Agent: AgentAdvice{Admin: Drain}}, Decision{State: Draining, Layer: ByAgent, Reason: ""}},
		{"drain over unresolved", Layers{Configured: Drain, Unresolved: true}, Decision{State: Draining, Layer: ByConfiguration, Reason: ""}},
		{"unresolved over down", Layers{Unresolved: true, Checks: bad}, Decision{State: Unresolved, Layer: ByResolver, Reason: ""}},
		{"unresolved over a wrong role", Layers{Unresolved: true, Wanted: WantPrimary}, Decision{State: Unresolved, Layer: ByResolver}},
		{"drain over a wrong role", Layers{Override: Override{State: pointerTo(Drain)}, Wanted: WantPrimary}, Decision{State: Draining, Layer: ByOverride}},
		{"no decision yet", Layers{Wanted: WantPrimary, RoleReason: "sentinel: no decision yet"}, Decision{State: Standby, Layer: ByTopology, Reason: "sentinel: no decision yet"}},
		{"wrong role over everything below", Layers{Override: Override{State: pointerTo(Ready)}, Wanted: WantPrimary, Role: RoleReplica, RoleReason: "r", Agent: AgentAdvice{Down: true}, Checks: bad, Passive: PassiveFailing}, Decision{State: Standby, Layer: ByTopology, Reason: "r"}},
		{"right role leaves the agent's down", Layers{Wanted: WantPrimary, Role: RolePrimary, Agent: AgentAdvice{Down: true}}, Decision{State: Down, Layer: ByAgent}},
		{"right role leaves the checks", Layers{Wanted: WantReplica, Role: RoleReplica, Checks: bad}, Decision{State: Down, Layer: ByChecks, Reason: "tcp: refused"}},
		{"right role", Layers{Wanted: WantPrimary, Role: RolePrimary}, Decision{}},
		{"a role that none asks for", Layers{Role: RoleOther}, Decision{}},
		{"primary in reserve", Layers{Wanted: WantReplicaFirst, Role: RolePrimary, Reserve: true, RoleReason: "r"}, Decision{State: Standby, Layer: ByTopology, Reason: "a replica is up; r"}},
		{"primary not in reserve", Layers{Wanted: WantReplicaFirst, Role: RolePrimary}, Decision{}},
		{"agent's down over the checks'", Layers{Agent: AgentAdvice{Down: true, Reason: "full"}, Checks: bad}, Decision{State: Down, Layer: ByAgent, Reason: "full"}},
		{"one check of two fails", Layers{Checks: bad}, Decision{State: Down, Layer: ByChecks, Reason: "tcp: refused"}},
		{"all checks pass", Layers{Checks: bad[:1]}, Decision{}},
		{"down over failing", Layers{Checks: bad, Passive: PassiveFailing}, Decision{State: Down, Layer: ByChecks, Reason: "tcp: refused"}},
		{"standby over full and failing", Layers{Checks: []Verdict{{ID: "a", State: Full}, {ID: "b", State: Standby, Reason: "replica"}}, Passive: PassiveFailing}, Decision{State: Standby, Layer: ByChecks, Reason: "b: replica"}},
		{"down over standby", Layers{Checks: []Verdict{{ID: "a", State: Standby}, {ID: "b", State: Down}}}, Decision{State: Down, Layer: ByChecks, Reason: "b"}},
		{"agent's down over standby", Layers{Agent: AgentAdvice{Down: true}, Checks: []Verdict{{ID: "a", State: Standby}}}, Decision{State: Down, Layer: ByAgent}},
		{"full over failing", Layers{Checks: []Verdict{{ID: "a", State: Full}}, Passive: PassiveFailing}, Decision{State: Full, Layer: ByChecks, Reason: "a"}},
		{"not checked yet", Layers{Checks: []Verdict{{ID: "a", State: Down, Initial: true}}}, Decision{State: Down, Layer: ByChecks, Reason: "a", Initial: true}},
		{"a failed check before one that has not run", Layers{Checks: []Verdict{{ID: "a", State: Down, Initial: true}, {ID: "b", State: Down}}}, Decision{State: Down, Layer: ByChecks, Reason: "b"}},
		{"no other node finds it down", Layers{Checks: bad, Votes: Votes{Nodes: 2}}, Decision{State: Failing, Layer: ByFleet, Reason: "1 of 3 nodes finds it down: this one; tcp: refused"}},
		{"a majority with this node", Layers{Checks: bad, Votes: Votes{Nodes: 2, Down: 1, Who: "n2"}}, Decision{State: Down, Layer: ByChecks, Reason: "tcp: refused"}},
		{"half is no majority", Layers{Checks: bad, Votes: Votes{Nodes: 3, Down: 1, Who: "n2"}}, Decision{State: Failing, Layer: ByFleet, Reason: "2 of 4 nodes find it down: this one, n2; tcp: refused"}},
		{"a majority of others", Layers{Checks: bad[:1], Votes: Votes{Nodes: 2, Down: 2, Who: "n2, n3"}}, Decision{State: Down, Layer: ByFleet, Reason: "2 of 3 nodes find it down: n2, n3"}},
		{"a minority of others", Layers{Checks: bad[:1], Votes: Votes{Nodes: 2, Down: 1, Who: "n2"}}, Decision{}},
		{"a majority over full and failing", Layers{Checks: []Verdict{{ID: "a", State: Full}}, Passive: PassiveFailing, Votes: Votes{Nodes: 2, Down: 2}}, Decision{State: Down, Layer: ByFleet, Reason: "2 of 3 nodes find it down"}},
		{"a minority over standby", Layers{Checks: []Verdict{{ID: "a", State: Standby}, {ID: "b", State: Down}}, Votes: Votes{Nodes: 1}}, Decision{State: Failing, Layer: ByFleet, Reason: "1 of 2 nodes finds it down: this one; b"}},
		{"no vote before the first check has passed", Layers{Checks: []Verdict{{ID: "a", State: Down, Initial: true}}, Votes: Votes{Nodes: 2, Down: 2}}, Decision{State: Down, Layer: ByChecks, Reason: "a", Initial: true}},
		{"agent's down needs no majority", Layers{Agent: AgentAdvice{Down: true}, Votes: Votes{Nodes: 2}}, Decision{State: Down, Layer: ByAgent}},
		{"failing", Layers{Passive: PassiveFailing, PassiveReason: "3 failures"}, Decision{State: Failing, Layer: ByPassive, Reason: "3 failures"}},
		{"probation", Layers{Passive: PassiveProbation}, Decision{State: Probation, Layer: ByPassive, Reason: ""}},
		{"maint over failing", Layers{Configured: Maint, Passive: PassiveFailing}, Decision{State: InMaint, Layer: ByConfiguration, Reason: ""}},
	} {
		require.Equal(t, test.want, test.layers.State(), test.name)
	}
}

func TestOnlyThreeStatesServe(t *testing.T) {
	for s := Up; s <= Unstable; s++ {
		require.Equal(t, s == Up || s == Probation || s == Unstable, s.Eligible(), s.String())
	}
}

func TestWeightLayers(t *testing.T) {
	for _, test := range []struct {
		name       string
		layers     Layers
		configured int
		want       int
	}{
		{"configured", Layers{}, 10, 10},
		{"half", Layers{Agent: AgentAdvice{Percent: pointerTo(50)}}, 10, 5},
		{"rounded to the nearest", Layers{Agent: AgentAdvice{Percent: pointerTo(33)}}, 10, 3},
		{"rounded up from the middle", Layers{Agent: AgentAdvice{Percent: pointerTo(50)}}, 5, 3},
		{"never from something to nothing", Layers{Agent: AgentAdvice{Percent: pointerTo(1)}}, 10, 1},
		{"nought percent is nothing", Layers{Agent: AgentAdvice{Percent: pointerTo(0)}}, 10, 0},
		{"of nothing is nothing", Layers{Agent: AgentAdvice{Percent: pointerTo(100)}}, 0, 0},
		{"more than all", Layers{Agent: AgentAdvice{Percent: pointerTo(300)}}, 10, 30},
		{"more than any weight", Layers{Agent: AgentAdvice{Percent: pointerTo(25600)}}, 10, 256},
		{"an absolute weight takes precedence over a percentage", Layers{Agent: AgentAdvice{Percent: pointerTo(50), Weight: pointerTo(7)}}, 10, 7},
		{"an override stands before the agent", Layers{Override: Override{Weight: pointerTo(4)}, Agent: AgentAdvice{Weight: pointerTo(7)}}, 10, 4},
		{"an override of nothing", Layers{Override: Override{Weight: pointerTo(0)}}, 10, 0},
	} {
		require.Equal(t, test.want, test.layers.weight(test.configured), test.name)
	}
}

func TestMaintIsNotChangedByChecks(t *testing.T) {
	c := newOneLevelCluster(Wrr, 1, 1)
	c.SetOverride("A", Override{State: pointerTo(Maint)}, 0)
	for i, up := range []bool{true, false, true, false} {
		c.SetCheck("A", "tcp", up, "", 0)
		c.Tick(60e9 * 1)
		require.Equal(t, InMaint, c.Snapshot(0).Levels[0].Servers[0].State, "verdict %d", i)
	}
}

func TestDroppedCheckNoLongerCounts(t *testing.T) {
	c := newOneLevelCluster(Wrr, 1, 1)
	c.SetCheck("A", "tcp", false, "", 0)
	before := c.Snapshot(0)
	c.SetCheck("A", "http", true, "", 0)
	c.DropCheck("A", "tcp")
	require.Equal(t, Up, c.Snapshot(0).Levels[0].Servers[0].State)
	require.Equal(t, []Verdict{{ID: "tcp", State: Down}}, before.Levels[0].Servers[0].Layers.Checks, "a snapshot stays what it was")
}

func TestUnknownServersAreIgnored(t *testing.T) {
	c := newOneLevelCluster(Wrr, 1)
	require.NotPanics(t, func() {
		c.SetCheck("Z", "tcp", false, "", 0)
		c.DropCheck("Z", "tcp")
		c.SetOverride("Z", Override{}, 0)
		c.SetAgent("Z", AgentAdvice{}, 0)
		c.SetResolved("Z", false, 0)
		c.Feedback("Z", true, 0)
	})
	require.Nil(t, c.Server("Z"))
}

func TestAdminStateNames(t *testing.T) {
	for _, a := range []AdminState{Ready, Drain, Maint} {
		got, ok := ParseAdminState(a.String())
		require.True(t, ok)
		require.Equal(t, a, got)
	}
	_, ok := ParseAdminState("MAINT")
	require.False(t, ok)
}

func TestAgentMaxSessionsApplies(t *testing.T) {
	c := newOneLevelCluster(Wrr, 1)
	c.SetAgent("A", AgentAdvice{MaxSessions: pointerTo(1)}, 0)
	pick(t, c, 0)
	_, err := c.Pick(0, &Attempts{})
	require.ErrorIs(t, err, ErrFull)
	c.SetOverride("A", Override{MaxSessions: pointerTo(0)}, 0)
	pick(t, c, 0)
}
