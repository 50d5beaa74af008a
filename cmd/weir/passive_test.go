package main_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
)

// Failures count together within fail_timeout of the first one; what comes later starts a new count, and successes in
// between do not help.
func TestFailuresCountWithinFailTimeout(t *testing.T) {
	t.Parallel()
	hosts := letters(t, "AB")
	w, addr := serve(t, layout{
		cluster: "balance = \"first\"\nmax_fails = 3\nfail_timeout = \"800ms\"", levels: [][]string{weighted(hosts, "A B")},
	})
	refusals := func(n int) {
		hosts["A"].Down()
		require.Equal(t, strings.Repeat("B", n), sequence(t, addr, n))
		hosts["A"].Up()
	}
	refusals(2)
	require.Equal(t, "AA", sequence(t, addr, 2))
	time.Sleep(900 * time.Millisecond) // the two are forgotten
	refusals(2)
	require.Equal(t, "AA", sequence(t, addr, 2), "two of three")
	require.Empty(t, w.events("server_down"))
	refusals(1)
	require.Equal(t, "BB", sequence(t, addr, 2), "the third, successes notwithstanding")
	w.told("server_down", 1)
	require.Equal(t, []string{"server_down 1 A up→failing"}, w.events("server_down"))
}

// After fail_timeout one session at a time tries the server: the others go elsewhere until that one has succeeded.
func TestProbationIsOneSessionAtATime(t *testing.T) {
	t.Parallel()
	ns := nettest.NewNamespace(t)
	a := ns.Start("127.0.0.1:7001", nettest.SendText("A"))
	ns.Start("127.0.0.1:7002", nettest.SendText("B"))
	w := launch{ns: ns}.start(t, layout{
		listen: "127.0.0.1:7000", cluster: "balance = \"first\"\nmax_fails = 1\nfail_timeout = \"400ms\"\nconnect_timeout = \"5s\"",
		levels: servers("127.0.0.1:7001 name=A", "127.0.0.1:7002 name=B"),
	}.String())
	told := func() string {
		data, _ := nettest.ReadToEnd(ns.Dial("127.0.0.1:7000"), 10*time.Second)
		return string(data)
	}
	a.Down()
	require.Equal(t, "B", told())
	w.waitRecord(5*time.Second, "probation", func(r record) bool { return r.str("to") == "probation" })
	ns.DropSYN(7001) // neither refused nor accepted: the probation lasts
	a.Up()
	tries := ns.Dial("127.0.0.1:7000")
	time.Sleep(100 * time.Millisecond)
	for range 10 {
		require.Equal(t, "B", told())
	}
	ns.ClearFilter()
	data, _ := nettest.ReadToEnd(tries, 5*time.Second) // the next SYN comes through
	require.Equal(t, "A", string(data))
	require.Equal(t, "AAAA", told()+told()+told()+told())
	w.told("server_up", 1)
	require.Equal(t, []string{"server_down 1 A up→failing", "server_state 1 A failing→probation", "server_up 1 A probation→up"},
		w.events("server_down", "server_state", "server_up"))
}

// A server that fails on probation is out for another full fail_timeout, and is dialled once in each.
func TestProbationThatFails(t *testing.T) {
	t.Parallel()
	hosts := letters(t, "AB")
	hosts["A"].Down()
	w, addr := serve(t, layout{cluster: "max_fails = 2\nfail_timeout = \"300ms\"", levels: [][]string{weighted(hosts, "A B")}})
	attempts := 0
	for begin := time.Now(); time.Since(begin) < 1600*time.Millisecond; {
		text, _ := ask(addr)
		require.Equal(t, "B", text)
	}
	ended := w.all(func(r record) bool { return r.end() != "" })
	for _, r := range ended {
		attempts += r.num("attempts")
	}
	attempts -= len(ended)
	require.GreaterOrEqual(t, attempts, 4, "two at first, then one each time")
	require.LessOrEqual(t, attempts, 2+5)
	require.Len(t, w.events("server_down"), 1, "told once, however often it is tried")
}

// max_fails and fail_timeout of a server stand before the cluster's; 0 switches passive health off.
func TestMaxFailsOfOneServer(t *testing.T) {
	t.Parallel()
	dead := []string{nettest.Reserve(t) + " name=one max_fails=1", nettest.Reserve(t) + " name=four max_fails=4", nettest.Reserve(t) + " name=never max_fails=0"}
	hosts := letters(t, "A")
	w, addr := serve(t, layout{
		cluster: "balance = \"first\"\nfail_timeout = \"1h\"", levels: [][]string{append(dead, weighted(hosts, "A")...)},
	})
	var attempts []int
	for range 6 {
		c := nettest.Dial(t, addr)
		data, _ := nettest.ReadToEnd(c, 5*time.Second)
		require.Equal(t, "A", string(data))
		c.Close()
		attempts = append(attempts, w.session(c).num("attempts"))
	}
	require.Equal(t, []int{4, 3, 3, 3, 2, 2}, attempts)
	require.Equal(t, []string{"server_down 1 one up→failing", "server_down 1 four up→failing"}, w.events("server_down"))
}

// The last server of a protected cluster is never out for failing: it is unstable, is dialled for every session, and a
// success clears it. Without protection nothing is dialled, and sessions are told that there is no server.
func TestLastServerThatFails(t *testing.T) {
	t.Parallel()
	t.Run("protected", func(t *testing.T) {
		t.Parallel()
		hosts := letters(t, "AB")
		hosts["A"].Down()
		hosts["B"].Down()
		w, addr := serve(t, layout{cluster: "max_fails = 2\nfail_timeout = \"1h\"", levels: [][]string{weighted(hosts, "A B")}})
		require.Equal(t, "------", sequence(t, addr, 6))
		w.told("cluster_empty", 1)
		last := w.all(func(r record) bool { return r.is("cluster_empty") })[0].str("server")
		hosts["A"].Up()
		hosts["B"].Up()
		require.Equal(t, strings.Repeat(last, 6), sequence(t, addr, 6), "the one that was spared is up again at once")
		w.told("cluster_back", 1)
		require.Contains(t, w.events("server_up"), fmt.Sprintf("server_up 1 %s unstable→up", last))
		require.Len(t, w.events("cluster_empty", "cluster_back"), 2)
		require.Len(t, w.events("server_down"), 2)
	})
	t.Run("unprotected", func(t *testing.T) {
		t.Parallel()
		hosts := letters(t, "AB")
		hosts["A"].Down()
		hosts["B"].Down()
		w, addr := serve(t, layout{
			cluster: "protected = false\nmax_fails = 2\nfail_timeout = \"2s\"", levels: [][]string{weighted(hosts, "A B")},
		})
		require.Equal(t, "--", sequence(t, addr, 2))
		w.told("cluster_empty", 1)
		hosts["A"].Up()
		hosts["B"].Up()
		for range 5 {
			c, err := nettest.TryDial(addr)
			if err != nil {
				continue // refused so quickly that connecting fails
			}
			data, _ := nettest.ReadToEnd(c, 5*time.Second)
			require.Empty(t, data)
			c.Close()
			r := w.session(c)
			require.Equal(t, "dial no_server", r.end())
			require.Zero(t, r.num("attempts"))
		}
		require.Zero(t, hosts["A"].Accepted()+hosts["B"].Accepted())
		nettest.Wait(t, 5*time.Second, "the return", func() bool { text, _ := ask(addr); return text != "" })
		w.told("cluster_back", 1)
	})
}

// Checks that fail everywhere leave a protected cluster its first server, unstable; when another one is up again, the
// privilege ends.
func TestUnstableUntilAnotherIsUp(t *testing.T) {
	t.Parallel()
	hosts := letters(t, "ABC")
	w, addr := serve(t, layout{
		checks: passing, cluster: "max_fails = 0", levels: [][]string{weighted(hosts, "A B"), weighted(hosts, "C")},
	})
	require.Equal(t, "AB", sequence(t, addr, 2))
	for _, h := range hosts {
		h.Down()
	}
	w.told("cluster_empty", 1)
	require.Equal(t, "A", w.all(func(r record) bool { return r.is("cluster_empty") })[0].str("server"), "who is spared")
	w.told("server_down", 3)
	hosts["C"].Up()
	w.waitEvent("server_up", "C")
	require.Equal(t, "CCC", sequence(t, addr, 3))
	w.told("cluster_back", 1)
	w.told("server_state", 1)
	require.Contains(t, w.events("server_state"), "server_state 1 A unstable→down")
	hosts["A"].Up()
	w.waitEvent("server_up", "A")
	require.Equal(t, "AAA", sequence(t, addr, 3))
}

// A server that goes down soon after another one, but was well when that one was down, is the last one, and spared.
func TestTheLastServerIsSparedHoweverSoonItGoesDown(t *testing.T) {
	t.Parallel()
	hosts := letters(t, "AB")
	w, addr := serve(t, layout{checks: passing, cluster: "max_fails = 0", levels: [][]string{weighted(hosts, "A B")}})
	hosts["A"].Down()
	w.waitEvent("server_down", "A")
	checked := hosts["B"].Accepted()
	nettest.Wait(t, 5*time.Second, "B to be found well", func() bool { return hosts["B"].Accepted() > checked+1 })
	hosts["B"].Down()
	w.waitEvent("server_down", "B")
	w.told("cluster_empty", 1)
	require.Equal(t, []string{"server_down 1 A up→down", "server_down 1 B up→unstable"}, w.events("server_down"))
	hosts["B"].Up()
	require.Equal(t, "BB", sequence(t, addr, 2))
}

// With slow_start a server that comes back gets little at first and all of its share in the end; at the start of weir
// everybody has theirs at once.
func TestSlowStartAfterRecovery(t *testing.T) {
	t.Parallel()
	hosts := letters(t, "AB")
	w, addr := serve(t, layout{
		checks: passing, cluster: "slow_start = \"2s\"\nmax_fails = 0", levels: [][]string{weighted(hosts, "A=10 B=10")},
	})
	share := func(n int) int { return strings.Count(sequence(t, addr, n), "A") }
	require.Equal(t, 20, share(40), "not at the start")
	hosts["A"].Down()
	w.waitEvent("server_down", "A")
	hosts["A"].Up()
	w.waitEvent("server_up", "A")
	begin := time.Now()
	early := share(22)
	if time.Since(begin) < 300*time.Millisecond { // unless this machine is too busy to tell
		require.LessOrEqual(t, early, 6, "a tenth to a quarter of the weight")
		require.Positive(t, early)
	}
	nettest.Wait(t, 5*time.Second, "the whole share", func() bool { return share(40) == 20 })
	require.GreaterOrEqual(t, time.Since(begin), 1800*time.Millisecond)
}

// max_sessions grows with the weight.
func TestSlowStartOfMaxSessions(t *testing.T) {
	t.Parallel()
	hosts := map[string]*nettest.Host{"A": nettest.Start(t, nettest.Greet("A", nettest.Echo))}
	l := layout{
		listen: nettest.Reserve(t), cluster: "slow_start = \"1h\"\nmax_sessions = 20",
		levels: [][]string{weighted(hosts, "A=1,state=maint")},
	}
	w := start(t, l.String())
	l.levels = [][]string{weighted(hosts, "A=1")}
	w.reload(l.String())
	for range 2 {
		require.Equal(t, "A", first(t, nettest.Dial(t, l.listen)))
	}
	_, served := knock(t, l.listen, 5*time.Second)
	require.False(t, served, "a tenth of twenty")
	l.cluster = "max_sessions = 20"
	w.reload(l.String())
	for range 18 {
		require.Equal(t, "A", first(t, nettest.Dial(t, l.listen)))
	}
	_, served = knock(t, l.listen, 5*time.Second)
	require.False(t, served)
}
