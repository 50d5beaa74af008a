package health_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// Failures within fail_timeout of the first one are counted together; later failures start a new count, and successes
// in between do not reset it.
func TestFailuresCountWithinFailTimeout(t *testing.T) {
	t.Parallel()
	hosts := weirtest.StartLetters(t, "AB")
	w, addr := weirtest.Serve(t, weirtest.Config{
		Cluster: "balance = \"first\"\nmax_fails = 3\nfail_timeout = \"800ms\"", Levels: [][]string{weirtest.WeightedLevel(hosts, "A B")},
	})
	refusals := func(n int) {
		hosts["A"].Down()
		require.Equal(t, strings.Repeat("B", n), weirtest.ReadSessions(t, addr, n))
		hosts["A"].Up()
	}
	refusals(2)
	require.Equal(t, "AA", weirtest.ReadSessions(t, addr, 2))
	time.Sleep(900 * time.Millisecond) // the two are forgotten
	refusals(2)
	require.Equal(t, "AA", weirtest.ReadSessions(t, addr, 2), "two of three")
	require.Empty(t, w.Events("server_down"))
	refusals(1)
	require.Equal(t, "BB", weirtest.ReadSessions(t, addr, 2), "the third, successes notwithstanding")
	w.WaitEvents("server_down", 1)
	require.Equal(t, []string{"server_down 1 A up→failing"}, w.Events("server_down"))
}

// After fail_timeout one session at a time tries the server: the others use other servers until that one has succeeded.
func TestProbationIsOneSessionAtATime(t *testing.T) {
	t.Parallel()
	ns := nettest.NewNamespace(t)
	a := ns.Start("127.0.0.1:7001", nettest.SendText("A"))
	ns.Start("127.0.0.1:7002", nettest.SendText("B"))
	api := weirtest.NewAPI(t)
	w := weirtest.Options{Namespace: ns}.Start(t, api.AddTo(weirtest.Config{
		Listen: "127.0.0.1:7000", Cluster: "balance = \"first\"\nmax_fails = 1\nfail_timeout = \"400ms\"\nconnect_timeout = \"5s\"",
		Levels: weirtest.OneLevel("127.0.0.1:7001 name=A", "127.0.0.1:7002 name=B"),
	}.String()))
	told := func() string {
		data, _ := nettest.ReadToEnd(ns.Dial("127.0.0.1:7000"), 10*time.Second)
		return string(data)
	}
	a.Down()
	require.Equal(t, "B", told())
	w.WaitRecord(5*time.Second, "probation", func(r weirtest.Record) bool { return r.Text("to") == "probation" })
	ns.DropSYN(7001) // neither refused nor accepted: the probation lasts
	a.Up()
	tries := ns.Dial("127.0.0.1:7000")
	api.WaitPhase(tries, "dial")
	for range 10 {
		require.Equal(t, "B", told())
	}
	ns.ClearFilter()
	data, _ := nettest.ReadToEnd(tries, 5*time.Second) // the next SYN comes through
	require.Equal(t, "A", string(data))
	require.Equal(t, "AAAA", told()+told()+told()+told())
	w.WaitEvents("server_up", 1)
	require.Equal(t, []string{"server_down 1 A up→failing", "server_state 1 A failing→probation", "server_up 1 A probation→up"},
		w.Events("server_down", "server_state", "server_up"))
}

// A server that fails on probation is out of service for another full fail_timeout, and is dialed once in each.
func TestProbationThatFails(t *testing.T) {
	t.Parallel()
	hosts := weirtest.StartLetters(t, "AB")
	hosts["A"].Down()
	w, addr := weirtest.Serve(t, weirtest.Config{Cluster: "max_fails = 2\nfail_timeout = \"300ms\"", Levels: [][]string{weirtest.WeightedLevel(hosts, "A B")}})
	attempts := 0
	for begin := time.Now(); time.Since(begin) < 1600*time.Millisecond; {
		text, _ := weirtest.ReadSession(addr)
		require.Equal(t, "B", text)
	}
	ended := w.Records(func(r weirtest.Record) bool { return r.Termination() != "" })
	for _, r := range ended {
		attempts += r.Int("attempts")
	}
	attempts -= len(ended)
	require.GreaterOrEqual(t, attempts, 4, "two at first, then one each time")
	require.LessOrEqual(t, attempts, 2+5)
	require.Len(t, w.Events("server_down"), 1, "told once, however often it is tried")
}

// A server's max_fails and fail_timeout override the cluster's; 0 disables passive health.
func TestMaxFailsOfOneServer(t *testing.T) {
	t.Parallel()
	dead := []string{nettest.Reserve(t) + " name=one max_fails=1", nettest.Reserve(t) + " name=four max_fails=4", nettest.Reserve(t) + " name=never max_fails=0"}
	hosts := weirtest.StartLetters(t, "A")
	w, addr := weirtest.Serve(t, weirtest.Config{
		Cluster: "balance = \"first\"\nfail_timeout = \"1h\"", Levels: [][]string{append(dead, weirtest.WeightedLevel(hosts, "A")...)},
	})
	var attempts []int
	for range 6 {
		c := nettest.Dial(t, addr)
		data, _ := nettest.ReadToEnd(c, 5*time.Second)
		require.Equal(t, "A", string(data))
		c.Close()
		attempts = append(attempts, w.SessionRecord(c).Int("attempts"))
	}
	require.Equal(t, []int{4, 3, 3, 3, 2, 2}, attempts)
	require.Equal(t, []string{"server_down 1 one up→failing", "server_down 1 four up→failing"}, w.Events("server_down"))
}

// The last server of a protected cluster never goes out of service for failures: it is unstable and is dialed for every
// session until its record is over. Without protection no server is dialed, and sessions end because there is no
// server.
func TestLastServerFails(t *testing.T) {
	t.Parallel()
	t.Run("protected", func(t *testing.T) {
		t.Parallel()
		hosts := weirtest.StartLetters(t, "AB")
		hosts["A"].Down()
		hosts["B"].Down()
		w, addr := weirtest.Serve(t, weirtest.Config{Cluster: "max_fails = 2\nfail_timeout = \"2s\"", Levels: [][]string{weirtest.WeightedLevel(hosts, "A B")}})
		require.Equal(t, "------", weirtest.ReadSessions(t, addr, 6))
		w.WaitEvents("cluster_empty", 1)
		last := w.Records(func(r weirtest.Record) bool { return r.IsEvent("cluster_empty") })[0].Text("server")
		hosts["A"].Up()
		hosts["B"].Up()
		require.Equal(t, strings.Repeat(last, 6), weirtest.ReadSessions(t, addr, 6), "the protected one serves at once")
		require.Empty(t, w.Events("server_up"), "and stays unstable until its record is over")
		nettest.Wait(t, 10*time.Second, "both servers to be up", func() bool {
			require.NotContains(t, weirtest.ReadSessions(t, addr, 2), "-")
			return len(w.Events("server_up")) == 2
		})
		w.WaitEvents("cluster_back", 1)
		require.Len(t, w.Events("cluster_empty", "cluster_back"), 2)
		require.Len(t, w.Events("server_down"), 2)
	})
	t.Run("unprotected", func(t *testing.T) {
		t.Parallel()
		hosts := weirtest.StartLetters(t, "AB")
		hosts["A"].Down()
		hosts["B"].Down()
		w, addr := weirtest.Serve(t, weirtest.Config{
			Cluster: "protected = false\nmax_fails = 2\nfail_timeout = \"2s\"", Levels: [][]string{weirtest.WeightedLevel(hosts, "A B")},
		})
		require.Equal(t, "--", weirtest.ReadSessions(t, addr, 2))
		w.WaitEvents("cluster_empty", 1)
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
			r := w.SessionRecord(c)
			require.Equal(t, "dial no_server", r.Termination())
			require.Zero(t, r.Int("attempts"))
		}
		require.Zero(t, hosts["A"].Accepted()+hosts["B"].Accepted())
		nettest.Wait(t, 5*time.Second, "the return", func() bool { text, _ := weirtest.ReadSession(addr); return text != "" })
		w.WaitEvents("cluster_back", 1)
	})
}

// Checks that fail everywhere leave a protected cluster its first server, unstable; protection ends when another server
// is up.
func TestUnstableUntilAnotherServerIsUp(t *testing.T) {
	t.Parallel()
	hosts := weirtest.StartLetters(t, "ABC")
	w, addr := weirtest.Serve(t, weirtest.Config{
		Checks: weirtest.PassingCheck, Cluster: "max_fails = 0", Levels: [][]string{weirtest.WeightedLevel(hosts, "A B"), weirtest.WeightedLevel(hosts, "C")},
	})
	require.Equal(t, "AB", weirtest.ReadSessions(t, addr, 2))
	for _, h := range hosts {
		h.Down()
	}
	w.WaitEvents("cluster_empty", 1)
	require.Equal(t, "A", w.Records(func(r weirtest.Record) bool { return r.IsEvent("cluster_empty") })[0].Text("server"), "who is spared")
	w.WaitEvents("server_down", 3)
	hosts["C"].Up()
	w.WaitEvent("server_up", "C")
	require.Equal(t, "CCC", weirtest.ReadSessions(t, addr, 3))
	w.WaitEvents("cluster_back", 1)
	w.WaitEvents("server_state", 1)
	require.Contains(t, w.Events("server_state"), "server_state 1 A unstable→down")
	hosts["A"].Up()
	w.WaitEvent("server_up", "A")
	require.Equal(t, "AAA", weirtest.ReadSessions(t, addr, 3))
}

// A server that goes down soon after another one is the last one, and protected.
func TestLastServerIsProtectedImmediately(t *testing.T) {
	t.Parallel()
	hosts := weirtest.StartLetters(t, "AB")
	w, addr := weirtest.Serve(t, weirtest.Config{Checks: weirtest.PassingCheck, Cluster: "max_fails = 0", Levels: [][]string{weirtest.WeightedLevel(hosts, "A B")}})
	hosts["A"].Down()
	w.WaitEvent("server_down", "A")
	checked := hosts["B"].Accepted()
	nettest.Wait(t, 5*time.Second, "B to be found well", func() bool { return hosts["B"].Accepted() > checked+1 })
	hosts["B"].Down()
	w.WaitEvent("server_down", "B")
	w.WaitEvents("cluster_empty", 1)
	require.Equal(t, []string{"server_down 1 A up→down", "server_down 1 B up→unstable"}, w.Events("server_down"))
	hosts["B"].Up()
	require.Equal(t, "BB", weirtest.ReadSessions(t, addr, 2))
}

// With slow_start the share of a recovered server grows from little to all of it; at the start of weir every server has
// its full share immediately.
func TestSlowStartAfterRecovery(t *testing.T) {
	t.Parallel()
	hosts := weirtest.StartLetters(t, "AB")
	w, addr := weirtest.Serve(t, weirtest.Config{
		Checks: weirtest.PassingCheck, Cluster: "slow_start = \"2s\"\nmax_fails = 0", Levels: [][]string{weirtest.WeightedLevel(hosts, "A=10 B=10")},
	})
	share := func(n int) int { return strings.Count(weirtest.ReadSessions(t, addr, n), "A") }
	require.Equal(t, 20, share(40), "not at the start")
	hosts["A"].Down()
	w.WaitEvent("server_down", "A")
	hosts["A"].Up()
	w.WaitEvent("server_up", "A")
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
	l := weirtest.Config{
		Listen: nettest.Reserve(t), Cluster: "slow_start = \"1h\"\nmax_sessions = 20",
		Levels: [][]string{weirtest.WeightedLevel(hosts, "A=1,state=maint")},
	}
	w := weirtest.Start(t, l.String())
	l.Levels = [][]string{weirtest.WeightedLevel(hosts, "A=1")}
	w.Reload(l.String())
	for range 2 {
		require.Equal(t, "A", weirtest.ReadByte(t, nettest.Dial(t, l.Listen)))
	}
	_, served := weirtest.DialServed(t, l.Listen, 5*time.Second)
	require.False(t, served, "a tenth of twenty")
	l.Cluster = "max_sessions = 20"
	w.Reload(l.String())
	for range 18 {
		require.Equal(t, "A", weirtest.ReadByte(t, nettest.Dial(t, l.Listen)))
	}
	_, served = weirtest.DialServed(t, l.Listen, 5*time.Second)
	require.False(t, served)
}
