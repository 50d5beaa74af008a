package engine_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
)

// deadServer returns a check that always fails: nothing listens on its port.
func deadServer(t *testing.T, keys string) string {
	t.Helper()
	_, port, _ := strings.Cut(nettest.Reserve(t), ":")
	return quick + "port = " + port + "\n" + keys + "\n"
}

// A verdict survives reloads that change everything around it, and causes one event.
func TestReloadKeepsVerdict(t *testing.T) {
	t.Parallel()
	a, aName := startNamed(t, "A")
	_, b := startNamed(t, "B")
	check := deadServer(t, "servers = [\"A\"]")
	s := startScript(t, cluster("", aName+", "+b)+check)
	s.countEvents("server_down A up→down")
	before := a.Accepted()
	for i := range 5 {
		s.reload(cluster(fmt.Sprintf("max_fails = %d", i+1), fmt.Sprintf("%s weight=%d, %s", aName, i+1, b)) + check)
		require.Equal(t, "BBB", s.requests(3))
	}
	s.reload(cluster("", b, aName) + check)
	require.Equal(t, "B", s.request())
	require.Equal(t, before, a.Accepted())
	require.Equal(t, []string{"server_down A up→down"}, s.events())
}

// A server that is no longer checked is up, whether the check has left or only names other servers now.
func TestReloadRemovesCheck(t *testing.T) {
	t.Parallel()
	for name, rest := range map[string]string{"gone": "", "others only": "others"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, a := startNamed(t, "A")
			_, b := startNamed(t, "B")
			both := deadServer(t, "servers = [\"A\", \"B\"]")
			s := startScript(t, cluster("protected = false", a+", "+b)+both)
			s.countEvents("server_down A up→down")
			s.countEvents("server_down B up→down")
			if rest != "" {
				rest = strings.Replace(both, `["A", "B"]`, `["B"]`, 1)
			}
			s.reload(cluster("protected = false", a+", "+b) + rest)
			require.Equal(t, 1, s.countEvents("server_up A down→up"))
			require.Contains(t, s.requests(2), "A")
			told := s.logged(&s.lines, func(l line) bool { return l["event"] == "server_up" && l["server"] == "A" })
			require.Contains(t, told[0]["reason"], "no longer checked")
		})
	}
}

// A check that a reload adds counts from its first result on. Until then verdicts stay.
func TestReloadAddsCheck(t *testing.T) {
	t.Parallel()
	_, a := startNamed(t, "A")
	_, b := startNamed(t, "B")
	s := startScript(t, cluster("", a+", "+b))
	require.Equal(t, "AB", s.requests(2))
	s.reload(cluster("", a+", "+b) + deadServer(t, "servers = [\"B\"]"))
	s.countEvents("server_down B up→down")
	require.Equal(t, "AAAA", s.requests(4))
	require.Len(t, s.events(), 1)
}

// A new address under the same name starts without verdicts and passive record.
func TestReloadWithNewAddressResetsVerdict(t *testing.T) {
	t.Parallel()
	old, oldName := startNamed(t, "A")
	old.Down()
	_, port, _ := strings.Cut(nettest.Start(t, nettest.SendText("1")).Addr(), ":")
	t.Run("checks", func(t *testing.T) {
		_, b := startNamed(t, "B")
		s := startScript(t, cluster("", oldName+", "+b)+quick)
		s.countEvents("server_down A up→down")
		s.reload(cluster("", "127.0.0.1:"+port+" name=A, "+b) + quick)
		require.Contains(t, []string{"1B1B", "B1B1"}, s.requests(4), "at once, without waiting for a check")
		require.Equal(t, []string{"server_down A up→down", "server_up A down→up"}, s.events())
	})
	t.Run("dialling", func(t *testing.T) {
		_, b := startNamed(t, "B")
		s := startScript(t, cluster("max_fails = 1\nfail_timeout = \"1h\"", oldName+", "+b))
		require.Equal(t, "BB", s.requests(2))
		require.Equal(t, []string{"server_down A up→failing"}, s.events())
		s.reload(cluster("max_fails = 1\nfail_timeout = \"1h\"", "127.0.0.1:"+port+" name=A, "+b))
		require.Contains(t, []string{"1B1B", "B1B1"}, s.requests(4))
	})
}

// The passive record survives a reload.
func TestReloadKeepsPassiveRecord(t *testing.T) {
	t.Parallel()
	a, aName := startNamed(t, "A")
	_, b := startNamed(t, "B")
	a.Down()
	s := startScript(t, cluster("max_fails = 1\nfail_timeout = \"1h\"", aName+", "+b))
	require.Equal(t, "BB", s.requests(2))
	a.Up()
	for i := range 3 {
		s.reload(cluster(fmt.Sprintf("max_fails = 1\nfail_timeout = \"1h\"\nqueue_timeout = \"%ds\"", i), aName+" weight=9, "+b))
		require.Equal(t, "BBBB", s.requests(4))
	}
	require.Equal(t, []string{"server_down A up→failing"}, s.events())
	s.reload(cluster("max_fails = 0", aName+", "+b))
	require.Contains(t, s.requests(2), "A", "switching passive health off ends the trip")
}

// The same address in two clusters has two verdicts.
func TestClustersHaveSeparateVerdicts(t *testing.T) {
	t.Parallel()
	_, a := startNamed(t, "A")
	s := startScript(t, cluster("protected = false", a)+deadServer(t, "")+
		"[cluster.d]\nprotected = false\n[[cluster.d.level]]\nservers = [\""+a+"\"]\n"+strings.ReplaceAll(quick, ".c.", ".d."))
	s.countEvents("server_down A up→down")
	require.Equal(t, "-", s.request())
	s.reload(strings.Replace(cluster("protected = false", a), "cluster = \"c\"", "cluster = \"d\"", 1) + deadServer(t, "") +
		"[cluster.d]\nprotected = false\n[[cluster.d.level]]\nservers = [\"" + a + "\"]\n" + strings.ReplaceAll(quick, ".c.", ".d."))
	require.Equal(t, "A", s.request())
}

// A name in two levels is one server: down in both, with one session count.
func TestServerInTwoLevels(t *testing.T) {
	t.Parallel()
	a, aName := startGreeter(t, "A")
	_, b := startGreeter(t, "B")
	_, c := startGreeter(t, "C")
	config := cluster("max_sessions = 1", aName+", "+b, c+", "+aName)
	s := startScript(t, config)
	s.openSession("A")
	s.openSession("B")
	s.openSession("C")
	require.Equal(t, "-", s.request(), "A has its one session already")
	require.Equal(t, 1, a.Accepted())
}

// Sessions that wait for a slot continue when a reload raises the limit, and end when it removes their servers.
func TestReloadWhileSessionsWait(t *testing.T) {
	t.Parallel()
	_, a := startGreeter(t, "A")
	limited := cluster("max_sessions = 1\nqueue_timeout = \"1m\"", a)
	s := startScript(t, limited)
	s.openSession("A")
	var waiting [3]chan string
	wait := func() {
		for i := range waiting {
			waiting[i] = make(chan string, 1)
			c := nettest.Dial(t, s.listen)
			go func() {
				b := make([]byte, 1)
				c.SetReadDeadline(time.Now().Add(5 * time.Second))
				if n, err := c.Read(b); n == 0 {
					b = []byte(nettest.StreamEndOf(err))
				}
				waiting[i] <- string(b)
			}()
		}
		nettest.Wait(t, 5*time.Second, "the sessions", func() bool { return s.e.Sessions() == 4 })
	}
	wait()
	s.reload(cluster("max_sessions = 0\nqueue_timeout = \"1m\"", a))
	for _, w := range waiting {
		require.Equal(t, "A", <-w)
	}

	s = startScript(t, limited)
	s.openSession("A")
	wait()
	s.reload(cluster("max_sessions = 1\nqueue_timeout = \"1m\"", a+" state=drain"))
	for _, w := range waiting {
		require.Equal(t, "reset", <-w)
	}
	nettest.Wait(t, 5*time.Second, "the sessions to be over", func() bool { return s.e.Sessions() == 1 })
}

// A server that a reload adds starts slowly. The others do not.
func TestReloadSlowStartsAddedServer(t *testing.T) {
	t.Parallel()
	_, a := startNamed(t, "A")
	_, b := startNamed(t, "B")
	s := startScript(t, cluster("slow_start = \"1h\"", a+" weight=10"))
	s.reload(cluster("slow_start = \"1h\"", a+" weight=10, "+b+" weight=10"))
	got := s.requests(44)
	require.Equal(t, 4, strings.Count(got, "B"), got)
	s.reload(cluster("slow_start = \"0s\"", a+" weight=10, "+b+" weight=10"))
	got = s.requests(40)
	require.Equal(t, 20, strings.Count(got, "B"), got)
}

// A failed reload undoes what it has prepared, even if the last step fails.
func TestFailedReloadLeavesNothing(t *testing.T) {
	nettest.CheckDescriptors(t)
	_, a := startNamed(t, "A")
	_, b := startNamed(t, "B")
	taken, _ := startNamed(t, "X")
	s := startScript(t, cluster("", a))
	require.Equal(t, "A", s.request())
	listeners := ""
	for i := range 5 {
		listeners += fmt.Sprintf("[[listener]]\nname = \"x%d\"\naddress = %q\ncluster = \"c\"\n", i, nettest.Reserve(t))
	}
	bad := cluster("on_down = \"close\"", b) + listeners +
		fmt.Sprintf("[[listener]]\nname = \"taken\"\naddress = %q\ncluster = \"c\"\n", taken.Addr()) + quick
	idle := nettest.Self().Descriptors()
	goroutines := runtime.NumGoroutine()
	for range 10 {
		require.ErrorContains(t, s.tryReload(bad), taken.Addr())
	}
	require.Equal(t, "AA", s.requests(2))
	nettest.Wait(t, 5*time.Second, "everything to be as before", func() bool {
		return len(nettest.Self().Descriptors().Since(idle)) == 0 && runtime.NumGoroutine() <= goroutines
	})
	require.Empty(t, s.events())
}

// After dozens of reloads with sessions, the engine holds the same resources as before.
func TestManyReloadsLeaveNothing(t *testing.T) {
	nettest.CheckDescriptors(t)
	_, a := startNamed(t, "A")
	_, b := startNamed(t, "B")
	second := fmt.Sprintf("[[listener]]\nname = \"m\"\naddress = %q\ncluster = \"c\"\n", nettest.Reserve(t))
	one := "[runtime]\ndrain_timeout = \"1ms\"\n" + strings.TrimPrefix(cluster("", a), "[runtime]\n")
	two := "[runtime]\ndrain_timeout = \"1ms\"\n" + strings.TrimPrefix(cluster("balance = \"rr\"", a+", "+b, "db.test:1 name=D"), "[runtime]\n") + quick + second
	s := startScript(t, one, "db.test", "127.0.0.1")
	for range 3 {
		s.reload(two)
		s.reload(one)
	}
	settle := func() (int, nettest.Descriptors) {
		nettest.Wait(t, 5*time.Second, "no session", func() bool { return s.e.Sessions() == 0 })
		time.Sleep(100 * time.Millisecond) // longer than the drain deadline
		return runtime.NumGoroutine(), nettest.Self().Descriptors()
	}
	goroutines, descriptors := settle()
	for range 20 {
		s.reload(two)
		require.NotEqual(t, "-", s.request())
		s.reload(one)
		require.Equal(t, "A", s.request())
	}
	nettest.Wait(t, 5*time.Second, "everything to be as before", func() bool {
		n, d := settle()
		return n < goroutines+5 && len(d.Since(descriptors)) == 0
	})
}
