package health_test

import (
	"fmt"
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
	weirtest.WithTime(t, 800*time.Millisecond, failuresCountWithin)
}

func failuresCountWithin(t *testing.T, window time.Duration) (inTime bool) {
	hosts := weirtest.StartLetters(t, "AB")
	w, addr := weirtest.Serve(t, weirtest.Config{
		Cluster: fmt.Sprintf("balance = \"first\"\nmax_fails = 3\nfail_timeout = %q", window), Levels: [][]string{weirtest.WeightedLevel(hosts, "A B")},
	})
	refusals := func(n int) {
		hosts["A"].Down()
		require.Equal(t, strings.Repeat("B", n), weirtest.ReadSessions(t, addr, n))
		hosts["A"].Up()
	}
	refusals(2)
	require.Equal(t, "AA", weirtest.ReadSessions(t, addr, 2))
	time.Sleep(window + window/4) // the two are forgotten
	begin := time.Now()
	refusals(2)
	require.Equal(t, "AA", weirtest.ReadSessions(t, addr, 2), "two of three")
	require.Empty(t, w.Events("server_down"))
	refusals(1)
	if time.Since(begin) >= window {
		return false
	}
	w.WaitEvents("server_down", 1)
	require.Equal(t, []string{"server_down 1 A up→failing"}, w.Events("server_down"), "the third, successes notwithstanding")
	return true
}

// After fail_timeout one session at a time tries the server: the others use other servers until that one has succeeded.
func TestProbationIsOneSessionAtATime(t *testing.T) {
	t.Parallel()
	ns := nettest.NewNamespace(t)
	a := ns.Start("127.0.0.1:7001", nettest.SendText("A"))
	ns.Start("127.0.0.1:7002", nettest.SendText("B"))
	api := weirtest.NewAPI(t)
	w := weirtest.Options{Namespace: ns}.Start(t, api.AddTo(weirtest.Config{
		Listen: "127.0.0.1:7000", Cluster: "balance = \"first\"\nmax_fails = 1\nfail_timeout = \"400ms\"\nconnect_timeout = \"40s\"",
		Levels: weirtest.OneLevel("127.0.0.1:7001 name=A", "127.0.0.1:7002 name=B"),
	}.String()))
	told := func() string {
		data, _ := nettest.ReadToEnd(ns.Dial("127.0.0.1:7000"), 10*time.Second)
		return string(data)
	}
	a.Down()
	require.Equal(t, "B", told())
	w.WaitRecord(15*time.Second, "probation", func(r weirtest.Record) bool { return r.Text("to") == "probation" })
	ns.DropSYN(7001) // neither refused nor accepted: the probation lasts
	a.Up()
	tries := ns.Dial("127.0.0.1:7000")
	api.WaitPhase(tries, "dial")
	for range 10 {
		require.Equal(t, "B", told())
	}
	ns.ClearFilter()
	data, _ := nettest.ReadToEnd(tries, 40*time.Second) // the next SYN comes through
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
	const window = 300 * time.Millisecond
	w, addr := weirtest.Serve(t, weirtest.Config{
		Cluster: fmt.Sprintf("max_fails = 2\nfail_timeout = %q", window), Levels: [][]string{weirtest.WeightedLevel(hosts, "A B")},
	})
	var tries []weirtest.Record // the sessions that have dialed A, from the one that took it down
	nettest.Wait(t, 30*time.Second, "five attempts to connect to A", func() bool {
		text, _ := weirtest.ReadSession(addr)
		require.Equal(t, "B", text)
		downs := w.Records(func(r weirtest.Record) bool { return r.IsEvent("server_down") })
		if len(downs) > 0 {
			down := recordTime(t, downs[0]).Truncate(time.Millisecond)
			tries = w.Records(func(r weirtest.Record) bool {
				return r.Termination() != "" && r.Int("attempts") == 2 && !recordTime(t, r).Before(down)
			})
		}
		return len(tries) >= 5
	})
	for i := 1; i < len(tries); i++ {
		began := recordTime(t, tries[i-1]).Add(-time.Duration(tries[i-1]["duration_ms"].(float64) * float64(time.Millisecond)))
		require.GreaterOrEqual(t, recordTime(t, tries[i]).Sub(began), window-2*time.Millisecond)
	}
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
		data, _ := nettest.ReadToEnd(c, 20*time.Second)
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
	for name, attempt := range map[string]func(*testing.T, time.Duration) bool{"protected": lastServerProtected, "unprotected": noServerLeft} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			weirtest.WithTime(t, 2*time.Second, attempt)
		})
	}
}

func lastServerProtected(t *testing.T, window time.Duration) (inTime bool) {
	hosts := weirtest.StartLetters(t, "AB")
	hosts["A"].Down()
	hosts["B"].Down()
	w, addr := weirtest.Serve(t, weirtest.Config{
		Cluster: fmt.Sprintf("max_fails = 2\nfail_timeout = %q", window), Levels: [][]string{weirtest.WeightedLevel(hosts, "A B")},
	})
	begin := time.Now()
	require.Equal(t, "------", weirtest.ReadSessions(t, addr, 6))
	w.WaitEvents("cluster_empty", 1)
	last := w.Records(func(r weirtest.Record) bool { return r.IsEvent("cluster_empty") })[0].Text("server")
	hosts["A"].Up()
	hosts["B"].Up()
	served, up := weirtest.ReadSessions(t, addr, 6), w.Events("server_up")
	if time.Since(begin) >= window {
		return false
	}
	require.Equal(t, strings.Repeat(last, 6), served, "the protected one serves at once")
	require.Empty(t, up, "and stays unstable until its record is over")
	nettest.Wait(t, 20*time.Second+window, "both servers to be up", func() bool {
		require.NotContains(t, weirtest.ReadSessions(t, addr, 2), "-")
		return len(w.Events("server_up")) == 2
	})
	w.WaitEvents("cluster_back", 1)
	require.Len(t, w.Events("cluster_empty", "cluster_back"), 2)
	require.Len(t, w.Events("server_down"), 2)
	return true
}

func noServerLeft(t *testing.T, window time.Duration) (inTime bool) {
	hosts := weirtest.StartLetters(t, "AB")
	hosts["A"].Down()
	hosts["B"].Down()
	w, addr := weirtest.Serve(t, weirtest.Config{
		Cluster: fmt.Sprintf("protected = false\nmax_fails = 2\nfail_timeout = %q", window), Levels: [][]string{weirtest.WeightedLevel(hosts, "A B")},
	})
	begin := time.Now()
	require.Equal(t, "--", weirtest.ReadSessions(t, addr, 2))
	w.WaitEvents("cluster_empty", 1)
	hosts["A"].Up()
	hosts["B"].Up()
	var replies []string
	var records []weirtest.Record
	for range 5 {
		c, err := nettest.TryDial(addr)
		if err != nil {
			continue // refused so quickly that connecting fails
		}
		data, _ := nettest.ReadToEnd(c, 20*time.Second)
		c.Close()
		replies, records = append(replies, string(data)), append(records, w.SessionRecord(c))
	}
	accepted := hosts["A"].Accepted() + hosts["B"].Accepted()
	if time.Since(begin) >= window {
		return false
	}
	for i, r := range records {
		require.Empty(t, replies[i])
		require.Equal(t, "dial no_server", r.Termination())
		require.Zero(t, r.Int("attempts"))
	}
	require.Zero(t, accepted)
	nettest.Wait(t, 20*time.Second+window, "the return", func() bool { text, _ := weirtest.ReadSession(addr); return text != "" })
	w.WaitEvents("cluster_back", 1)
	return true
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
	nettest.Wait(t, 15*time.Second, "B to be found well", func() bool { return hosts["B"].Accepted() > checked+1 })
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
	begin := recordTime(t, w.WaitRecord(15*time.Second, "A to come up", func(r weirtest.Record) bool { return r.IsEvent("server_up") }))
	early := share(22)
	if time.Since(begin) < 300*time.Millisecond { // unless this machine is too busy to tell
		require.LessOrEqual(t, early, 6, "a tenth to a quarter of the weight")
		require.Positive(t, early)
	}
	nettest.Wait(t, 15*time.Second, "the whole share", func() bool { return share(40) == 20 })
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
