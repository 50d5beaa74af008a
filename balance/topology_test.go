package balance

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// rolesOf returns a decision: the primary, the replicas and the others, by name.
func rolesOf(primary string, replicas, others string) *Roles {
	r := &Roles{Servers: map[string]ServerRole{}, Unnamed: "sentinel: not listed", Decided: primary != "", New: true}
	source := "sentinel: primary is " + primary
	if primary != "" {
		r.Servers[primary] = ServerRole{RolePrimary, source}
	}
	for _, name := range replicas {
		r.Servers[string(name)] = ServerRole{RoleReplica, source}
	}
	for _, name := range others {
		r.Servers[string(name)] = ServerRole{RoleOther, source}
	}
	return r
}

// newRoleCluster returns a cluster whose levels have the servers of names, and its events.
func newRoleCluster(wanted Wanted, levels ...string) (*Cluster, func() []string) {
	observe, events := recordEvents()
	spec := newLevelsSpec(levels...)
	spec.Wanted, spec.Protected = wanted, true
	for i := range spec.Levels {
		for j := range spec.Levels[i].Servers {
			spec.Levels[i].Servers[j].MaxFails, spec.Levels[i].Servers[j].FailTimeout = 3, 10*sec
		}
	}
	return New(spec, 0, observe), events
}

// statesOf returns the states of all servers, in order.
func statesOf(c *Cluster) (list []string) {
	for _, l := range c.Snapshot(c.now).Levels {
		for _, s := range l.Servers {
			list = append(list, s.Name+" "+s.State.String())
		}
	}
	return list
}

func TestWantedTruthTable(t *testing.T) {
	roles := []Role{RolePrimary, RoleReplica, RoleOther, RoleUnknown}
	for wanted, want := range map[Wanted][]string{ // serves; serves while a replica is up; lost without a primary; lost with one
		AnyRole:          {"yyyy", "yyyy", "nnnn", "nnnn"},
		WantPrimary:      {"ynnn", "ynnn", "nynn", "nyyy"},
		WantReplica:      {"nynn", "nynn", "ynnn", "ynyy"},
		WantReplicaFirst: {"yynn", "nynn", "nnnn", "nnyy"},
	} {
		word := func(of func(Role) bool) (s string) {
			for _, r := range roles {
				s += map[bool]string{true: "y", false: "n"}[of(r)]
			}
			return s
		}
		require.Equal(t, want, []string{
			word(func(r Role) bool { return wanted.Serves(r, false) }), word(func(r Role) bool { return wanted.Serves(r, true) }),
			word(func(r Role) bool { return wanted.Lost(r, false) }), word(func(r Role) bool { return wanted.Lost(r, true) }),
		}, "wanted %d", wanted)
	}
}

// Without a decision none serves, and protection does not help. Each decision is one step: there is no event of an empty
// cluster between two primaries.
func TestDecisionMovesSessionsInOneStep(t *testing.T) {
	c, events := newRoleCluster(WantPrimary, "ABC")
	require.Equal(t, []string{"A standby", "B standby", "C standby"}, statesOf(c))
	_, err := c.Pick(0, &Attempts{})
	require.ErrorIs(t, err, ErrNoServer)
	c.SetRoles(rolesOf("B", "AC", ""), sec)
	require.Equal(t, []string{"A standby", "B up", "C standby"}, statesOf(c))
	require.Equal(t, []string{"server_state B standby>up by topology", "cluster_back"}, events())
	lease := pick(t, c, sec)
	require.Equal(t, "B", lease.Server().Name())
	require.False(t, lease.Server().RoleLost())

	c.SetRoles(rolesOf("A", "BC", ""), 2*sec)
	require.Equal(t, []string{"server_state A standby>up by topology", "server_state B up>standby by topology"}, events())
	require.True(t, lease.Server().RoleLost())
	require.Equal(t, 1, c.SessionsWithoutRole())
	other := pick(t, c, 2*sec)
	require.Equal(t, "A", other.Server().Name())
	lease.Done(2 * sec)
	require.Zero(t, c.SessionsWithoutRole())

	c.SetRoles(&Roles{Unnamed: "sentinel: two primaries"}, 3*sec) // a conflict
	require.Equal(t, []string{"A standby", "B standby", "C standby"}, statesOf(c))
	require.Equal(t, []string{"server_state A up>standby by topology", "cluster_empty"}, events())
	require.Zero(t, c.SessionsWithoutRole(), "none is known to have lost the role")
	require.Equal(t, "sentinel: two primaries", c.Snapshot(3 * sec).Levels[0].Servers[0].Reason)
}

// Neither checks nor agents, protection or an override of ready give a server the role; maint and drain apply as everywhere.
func TestTopologyIsNotOverruled(t *testing.T) {
	c, events := newRoleCluster(WantPrimary, "ABC")
	c.SetRoles(rolesOf("A", "BC", ""), 0)
	events()
	c.SetCheck("B", "tcp", false, "refused", sec)
	c.SetOverride("C", Override{State: pointerTo(Ready)}, sec)
	c.SetAgent("B", AgentAdvice{}, sec)
	require.Equal(t, []string{"A up", "B standby", "C standby"}, statesOf(c))
	require.Empty(t, events(), "a standby server is silent")
	c.SetCheck("A", "tcp", false, "refused", 2*sec)
	require.Equal(t, []string{"A unstable", "B standby", "C standby"}, statesOf(c), "protection keeps the primary, not a replica")
	c.SetAgent("A", AgentAdvice{Down: true}, 3*sec)
	require.Equal(t, []string{"A unstable", "B standby", "C standby"}, statesOf(c))
	events()
	c.SetRoles(rolesOf("B", "AC", ""), 4*sec) // B is down by its check
	require.Equal(t, []string{"A standby", "B unstable", "C standby"}, statesOf(c))
	c.SetCheck("B", "tcp", true, "", 5*sec)
	c.SetOverride("B", Override{State: pointerTo(Drain)}, 6*sec)
	require.Equal(t, []string{"A standby", "B drain", "C standby"}, statesOf(c))
	require.False(t, c.Server("B").RoleLost())
	c.SetRoles(rolesOf("C", "AB", ""), 7*sec)
	require.Equal(t, []string{"A standby", "B drain", "C up"}, statesOf(c))
	require.True(t, c.Server("B").RoleLost(), "also of a drained server")
	c.SetOverride("B", Override{}, 8*sec)
	require.Equal(t, []string{"A standby", "B standby", "C up"}, statesOf(c))
}

func TestUnprotectedPrimaryThatIsDownIsNotReplaced(t *testing.T) {
	spec := newLevelsSpec("A", "B")
	spec.Wanted, spec.Protected = WantPrimary, false
	c := New(spec, 0, nil)
	c.SetRoles(rolesOf("A", "B", ""), 0)
	c.SetCheck("A", "tcp", false, "refused", sec)
	require.Equal(t, []string{"A down", "B standby"}, statesOf(c))
	_, err := c.Pick(sec, &Attempts{})
	require.ErrorIs(t, err, ErrNoServer)
}

// replica_first uses the primary only while no replica is up, whatever takes the replicas out.
func TestReplicaFirst(t *testing.T) {
	c, events := newRoleCluster(WantReplicaFirst, "ABC")
	c.SetRoles(rolesOf("A", "BC", ""), 0)
	require.Equal(t, []string{"A standby", "B up", "C up"}, statesOf(c))
	require.Equal(t, "a replica is up; sentinel: primary is A", c.Snapshot(0).Levels[0].Servers[0].Reason)
	require.False(t, c.Server("A").RoleLost())
	onA := func() bool { return statesOf(c)[0] == "A up" }
	for name, test := range map[string][2]func(server string){
		"checks": {func(s string) { c.SetCheck(s, "tcp", false, "", sec) }, func(s string) { c.SetCheck(s, "tcp", true, "", sec) }},
		"drain":  {func(s string) { c.SetOverride(s, Override{State: pointerTo(Drain)}, sec) }, func(s string) { c.SetOverride(s, Override{}, sec) }},
		"agent":  {func(s string) { c.SetAgent(s, AgentAdvice{Down: true}, sec) }, func(s string) { c.SetAgent(s, AgentAdvice{}, sec) }},
		"names":  {func(s string) { c.SetResolved(s, false, sec) }, func(s string) { c.SetResolved(s, true, sec) }},
		"full":   {func(s string) { c.SetVerdict(s, "tcp", Full, "", sec) }, func(s string) { c.SetCheck(s, "tcp", true, "", sec) }},
	} {
		events()
		test[0]("B")
		require.False(t, onA(), name)
		test[0]("C")
		require.True(t, onA(), name)
		require.NotContains(t, events(), "cluster_empty", name)
		test[1]("B")
		require.False(t, onA(), name)
		test[1]("C")
		require.NotContains(t, events(), "cluster_empty", name)
	}
	// A replica on probation gets its one session, and does not replace the primary before that succeeds.
	for _, name := range []string{"B", "C"} {
		for range 3 {
			c.Feedback(name, true, 2*sec)
		}
	}
	require.Equal(t, []string{"A up", "B failing", "C failing"}, statesOf(c))
	c.Tick(13 * sec)
	require.Equal(t, []string{"A up", "B probation", "C probation"}, statesOf(c))
	c.Feedback("B", false, 14*sec)
	require.Equal(t, []string{"A standby", "B up", "C probation"}, statesOf(c))

	c.SetRoles(rolesOf("B", "A", "C"), 15*sec)
	require.Equal(t, []string{"A up", "B standby", "C standby"}, statesOf(c))
	require.True(t, c.Server("C").RoleLost())
	c.SetRoles(rolesOf("B", "", "AC"), 16*sec)
	require.Equal(t, []string{"A standby", "B up", "C standby"}, statesOf(c))
}

// A decision that names a server clears its passive record; one that only repeats it does not.
func TestDecisionClearsPassiveRecord(t *testing.T) {
	c, _ := newRoleCluster(WantPrimary, "AB")
	c.SetRoles(rolesOf("A", "B", ""), 0)
	for range 3 {
		c.Feedback("B", true, sec)
		c.Feedback("A", true, sec)
	}
	require.Equal(t, []string{"A unstable", "B standby"}, statesOf(c))
	again := rolesOf("A", "B", "")
	again.New = false
	c.SetRoles(again, sec)
	require.Equal(t, []string{"A unstable", "B standby"}, statesOf(c))
	c.SetRoles(rolesOf("B", "A", ""), sec)
	require.Equal(t, []string{"A standby", "B up"}, statesOf(c))
}

// A reload that brings another decision applies it with the servers: the new name of the primary takes over in one step.
func TestCommitAppliesRoles(t *testing.T) {
	c, events := newRoleCluster(WantPrimary, "AB")
	c.SetRoles(rolesOf("A", "B", ""), 0)
	events()
	spec := newLevelsSpec("CB")
	spec.Wanted = WantPrimary
	p := c.Prepare(spec)
	p.SetRoles(rolesOf("C", "B", ""))
	c.Commit(p, sec)
	require.Empty(t, events(), "the cluster was never empty")
	require.Equal(t, []string{"C up", "B standby"}, statesOf(c))
	spec.Wanted = AnyRole
	c.Commit(c.Prepare(spec), 2*sec)
	require.Equal(t, []string{"C up", "B up"}, statesOf(c))
}

func TestFirstSessionAfterDecision(t *testing.T) {
	c, events := newRoleCluster(WantPrimary, "AB")
	c.RestoreRoles(rolesOf("A", "B", ""), 0)
	lease := pick(t, c, 0)
	lease.Established(0, time.Millisecond)
	require.Empty(t, events(), "restored, not decided")
	c.SetRoles(rolesOf("B", "A", ""), sec)
	events()
	for range 2 {
		lease := pick(t, c, sec)
		lease.Established(sec, time.Millisecond)
	}
	require.Equal(t, []string{"first_session B"}, events())
}

// A replica that comes up because its protection ends keeps the primary in reserve in the same step.
func TestReserveWhenProtectionEnds(t *testing.T) {
	c, _ := newRoleCluster(WantReplicaFirst, "AB", "D")
	c.SetCheck("B", "tcp", false, "", 0)
	c.SetRoles(rolesOf("A", "B", ""), 0)
	c.SetOverride("A", Override{State: pointerTo(Drain)}, 0)
	require.Equal(t, "unstable", c.Server("B").State().String())
	c.SetCheck("B", "tcp", true, "", 0) // too early after the protection began
	c.SetRoles(rolesOf("D", "AB", ""), 0)
	require.Equal(t, []string{"A drain", "B up", "D standby"}, statesOf(c))
}

// For random decisions and states of the layers, a cluster never has two servers up where it wants the primary, and a server
// is eligible only with the role.
func TestRolesProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		wanted := Wanted(rapid.IntRange(1, 3).Draw(t, "wanted"))
		c, _ := newRoleCluster(wanted, "AB", "CD")
		roles := &Roles{}
		now := time.Duration(0)
		name := func() string { return rapid.SampledFrom([]string{"A", "B", "C", "D"}).Draw(t, "server") }
		t.Repeat(map[string]func(*rapid.T){
			"decide": func(t *rapid.T) {
				roles = rolesOf(rapid.SampledFrom([]string{"", "A", "B", "C", "D"}).Draw(t, "primary"), "", "")
				for _, s := range []string{"A", "B", "C", "D"} {
					if _, ok := roles.Servers[s]; !ok {
						roles.Servers[s] = ServerRole{Role: rapid.SampledFrom([]Role{RoleReplica, RoleOther, RoleUnknown}).Draw(t, s)}
					}
				}
				c.SetRoles(roles, now)
			},
			"check":    func(t *rapid.T) { c.SetCheck(name(), "tcp", rapid.Bool().Draw(t, "up"), "", now) },
			"feedback": func(t *rapid.T) { c.Feedback(name(), rapid.Bool().Draw(t, "failed"), now) },
			"override": func(t *rapid.T) {
				c.SetOverride(name(), Override{State: pointerTo(rapid.SampledFrom([]AdminState{Ready, Drain, Maint}).Draw(t, "state"))}, now)
			},
			"time":   func(t *rapid.T) { now += time.Duration(rapid.Int64Range(0, int64(6*sec)).Draw(t, "later")) },
			"reload": func(t *rapid.T) { c.Commit(c.Prepare(c.spec), now) },
			"": func(t *rapid.T) {
				eligible, replicas := 0, false
				state := c.Snapshot(now)
				for _, l := range state.Levels {
					for _, s := range l.Servers {
						replicas = replicas || s.Layers.Role == RoleReplica && s.State == Up
					}
				}
				for _, l := range state.Levels {
					for _, s := range l.Servers {
						require.Equal(t, roles.Servers[s.Name].Role, s.Layers.Role)
						if s.State.Eligible() {
							eligible++
							require.True(t, wanted.Serves(s.Layers.Role, replicas), "%s is %s as %s", s.Name, s.State, s.Layers.Role)
						}
						if s.State == Standby {
							require.Equal(t, ByTopology, s.Layer)
						}
					}
				}
				if wanted == WantPrimary {
					require.LessOrEqual(t, eligible, 1)
				}
			},
		})
	})
}
