package engine_test

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/status"
)

// A level that goes down and comes back causes one event each, for its server and nothing else.
func TestEventsOfLevelChange(t *testing.T) {
	t.Parallel()
	a, aName := startNamed(t, "A")
	_, b := startNamed(t, "B")
	s := startScript(t, cluster("", aName, b)+quick)
	require.Equal(t, "AA", s.requests(2))
	a.Down()
	s.countEvents("level_change 1→2")
	require.Equal(t, "BB", s.requests(2))
	a.Up()
	s.countEvents("level_change 2→1")
	require.Equal(t, "AA", s.requests(2))
	require.Equal(t, []string{"server_down A up→down", "level_change 1→2", "server_up A down→up", "level_change 2→1"}, s.events())
}

// When the last server of an unprotected cluster goes down, the cluster is empty, once. When the first server is up
// again, the cluster is filled, once.
func TestEventsOfEmptyCluster(t *testing.T) {
	t.Parallel()
	a, aName := startNamed(t, "A")
	b, bName := startNamed(t, "B")
	s := startScript(t, cluster("protected = false", aName+", "+bName)+quick)
	for range 2 {
		before := len(s.events())
		a.Down()
		b.Down()
		nettest.Wait(t, 5*time.Second, "both to be down", func() bool { return len(s.events()) >= before+3 })
		require.Equal(t, "--", s.requests(2))
		a.Up()
		b.Up()
		nettest.Wait(t, 5*time.Second, "both to be up", func() bool { return len(s.events()) >= before+6 })
		now := s.events()[before:]
		require.Equal(t, "cluster_empty", now[2])
		require.Equal(t, "cluster_back", now[4])
		require.ElementsMatch(t, []string{
			"server_down A up→down", "server_down B up→down", "cluster_empty",
			"server_up A down→up", "server_up B down→up", "cluster_back",
		}, now)
	}
}

// With protection the last server is unstable. The cluster is empty and still serves.
func TestEventsOfProtectedCluster(t *testing.T) {
	t.Parallel()
	a, aName := startNamed(t, "A")
	s := startScript(t, cluster("max_fails = 0", aName)+quick)
	a.Down()
	s.countEvents("cluster_empty A")
	a.Up()
	s.countEvents("cluster_back")
	require.Equal(t, []string{"server_down A up→unstable", "cluster_empty A", "server_up A unstable→up", "cluster_back"}, s.events())
}

// Failed dials take a server out, fail_timeout starts its probation, and a success ends it: one event each, with layer
// and reason.
func TestEventsOfPassiveHealth(t *testing.T) {
	t.Parallel()
	a, aName := startNamed(t, "A")
	_, b := startNamed(t, "B")
	a.Down()
	s := startScript(t, cluster("max_fails = 2\nfail_timeout = \"300ms\"", aName+", "+b))
	nettest.Wait(t, 5*time.Second, "the trip", func() bool {
		require.Equal(t, "B", s.request())
		return len(s.events()) > 0
	})
	s.countEvents("server_state A failing→probation")
	a.Up()
	nettest.Wait(t, 5*time.Second, "the return", func() bool { return s.request() == "A" })
	s.countEvents("server_up A probation→up")
	require.Equal(t, []string{
		"server_down A up→failing", "server_state A failing→probation", "server_up A probation→up",
	}, s.events())
	told := s.logged(&s.lines, func(l line) bool { return l["event"] != "" })
	for _, l := range told {
		require.Equal(t, "passive", l["layer"])
		require.NotEmpty(t, l["reason"])
		require.Equal(t, "c", l["cluster"])
		require.Equal(t, "1", l["cluster_level"])
	}
	require.Contains(t, told[0]["reason"], "2 failures")
}

// A state in the file causes one event with its reason. A reload that keeps the state causes none.
func TestEventsOfConfiguredState(t *testing.T) {
	t.Parallel()
	_, a := startNamed(t, "A")
	_, b := startNamed(t, "B")
	s := startScript(t, cluster("", a+", "+b))
	s.reload(cluster("", a+" state=drain, "+b))
	require.Equal(t, "BBB", s.requests(3))
	s.reload(cluster("", a+" state=drain, "+b+" weight=7"))
	s.reload(cluster("", a+" state=maint, "+b))
	require.Equal(t, "BBB", s.requests(3))
	s.reload(cluster("", a+", "+b))
	require.Equal(t, "ABAB", s.requests(4))
	require.Equal(t, []string{"server_state A up→drain", "server_state A drain→maint", "server_state A maint→up"}, s.events())
	for _, l := range s.logged(&s.lines, func(l line) bool { return l["event"] != "" }) {
		require.Equal(t, "configuration", l["layer"])
	}
}

// Protection does not override a drain, which empties the cluster.
func TestDrainOfLastServer(t *testing.T) {
	t.Parallel()
	a, aName := startNamed(t, "A")
	s := startScript(t, cluster("", aName))
	s.reload(cluster("", aName+" state=drain"))
	require.Equal(t, "--", s.requests(2))
	require.Zero(t, a.Accepted())
	s.reload(cluster("", aName))
	require.Equal(t, "A", s.request())
	require.Equal(t, []string{"server_state A up→drain", "cluster_empty", "server_state A drain→up", "cluster_back"}, s.events())
}

// With failback = "manual" a lower level stays in use until it fails.
func TestManualFailback(t *testing.T) {
	t.Parallel()
	a, aName := startNamed(t, "A")
	b, bName := startNamed(t, "B")
	config := cluster("failback = \"manual\"", aName, bName) + quick
	s := startScript(t, config)
	a.Down()
	s.countEvents("level_change 1→2")
	a.Up()
	s.countEvents("server_up A down→up")
	require.Equal(t, "BBBB", s.requests(4))
	s.reload(config + "[[cluster.c.check]]\ntype = \"tcp\"\nid = \"other\"\n")
	require.Equal(t, "BBBB", s.requests(4), "a reload is no failback")
	b.Down()
	s.countEvents("level_change 2→1")
	require.Equal(t, "AAAA", s.requests(4))
	b.Up()
	s.countEvents("server_up B down→up")
	require.Equal(t, "AAAA", s.requests(4))
	require.Equal(t, []string{"level_change 1→2", "level_change 2→1"}, slices.DeleteFunc(s.events(), func(e string) bool {
		return e[:6] == "server"
	}))
}

// The first level fails under traffic and returns. A passing check ends its probation although a held level gets all
// sessions. Failback is a conflict while no better level can serve.
func TestFailbackAfterFailureUnderTraffic(t *testing.T) {
	t.Parallel()
	a, aName := startNamed(t, "A")
	_, bName := startNamed(t, "B")
	s := startScript(t, cluster("failback = \"manual\"\nmax_fails = 1\nfail_timeout = \"1h\"", aName, bName)+
		"[[cluster.c.check]]\ntype = \"tcp\"\ninterval = \"100ms\"\ntimeout = \"100ms\"\nfall = 1000000\n")
	require.NoError(t, s.e.Failback("c"), "the first level is in use")
	nettest.Wait(t, 5*time.Second, "the first check", func() bool { return layer(s.server("A"), "checks").At != nil })
	a.Down()
	require.Equal(t, "B", s.request())
	require.Equal(t, "failing", s.server("A").State)
	var conflict *status.RequestError
	require.ErrorAs(t, s.e.Failback("c"), &conflict)
	require.Equal(t, status.Conflict, conflict.Kind)
	require.Contains(t, conflict.Text, "level 1 has 0 of 1 servers up or on probation")
	a.Up()
	s.countEvents("server_up A failing→up")
	require.Equal(t, "BB", s.requests(2))
	require.NoError(t, s.e.Failback("c"))
	require.Equal(t, "AA", s.requests(2))
}
