package engine_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/engine"
	"weir/internal/nettest"
)

// named returns the table of a server with a host name.
func named(host string, h *nettest.Host, name string) string {
	return host + ":" + strconv.Itoa(int(h.AddrPort().Port())) + " name=" + name
}

const often = "resolve_interval = \"20ms\""

// A server whose name does not resolve at the start serves as soon as the name resolves.
func TestHostNameResolvesAfterStart(t *testing.T) {
	t.Parallel()
	a, _ := startNamed(t, "A")
	_, b := startNamed(t, "B")
	s := startScript(t, cluster(often, named("db.test", a, "A")+", "+b))
	require.Equal(t, "BBBB", s.requests(4))
	require.Empty(t, s.events(), "unresolved from the start is no transition")
	s.names.set("db.test", "127.0.0.1")
	require.Equal(t, 1, s.countEvents("server_up A unresolved→up"))
	require.Contains(t, []string{"ABAB", "BABA"}, s.requests(4))
	require.Len(t, s.events(), 1)
}

// A cluster with only unresolved names rejects sessions at once.
func TestOnlyUnresolvedServers(t *testing.T) {
	t.Parallel()
	a, _ := startNamed(t, "A")
	s := startScript(t, cluster("", named("db.test", a, "A"))+quick)
	require.Equal(t, "---", s.requests(3))
	require.Zero(t, a.Accepted(), "neither sessions nor checks")
	nettest.Wait(t, 15*time.Second, "the sessions' records", func() bool {
		return len(s.logged(&s.records, func(l line) bool { return l.end() == "dial no_server" && l["attempts"] == "0" })) == 3
	})
}

// After an address change new sessions go to the new address, current ones stay, and the server keeps its identity:
// there is no event, and round robin continues.
func TestHostNameChangesAddress(t *testing.T) {
	t.Parallel()
	port := nettest.Reserve(t)
	old := nettest.StartAt(t, port, nettest.Greet("1", nettest.Echo))
	_, n, _ := strings.Cut(port, ":")
	other := nettest.StartAt(t, "127.0.0.2:"+n, nettest.SendText("2"))
	s := startScript(t, cluster(often, named("db.test", old, "A"))+quick, "db.test", "127.0.0.1")
	held := nettest.Dial(t, s.listen)
	require.Equal(t, "1", read(t, held, 1))
	before := len(s.events())

	s.names.set("db.test", "127.0.0.2")
	nettest.Wait(t, 15*time.Second, "the new address", func() bool { return other.Accepted() > 0 && s.request() == "2" })
	accepted := old.Accepted()
	require.Equal(t, "2222", s.requests(4))
	require.Equal(t, accepted, old.Accepted(), "neither sessions nor checks go to the old address")
	_, err := held.Write([]byte("x"))
	require.NoError(t, err)
	require.Equal(t, "x", read(t, held, 1), "the session from before goes on")
	require.Len(t, s.events(), before)
}

// An address change under the same name keeps the verdict.
func TestAddressChangeKeepsVerdict(t *testing.T) {
	t.Parallel()
	port := nettest.Reserve(t)
	dead := nettest.StartAt(t, port, nettest.SendText("1"))
	dead.Down()
	_, n, _ := strings.Cut(port, ":")
	live := nettest.StartAt(t, "127.0.0.2:"+n, nettest.SendText("2"))
	live.Down()
	_, b := startNamed(t, "B")
	s := startScript(t, cluster(often, named("db.test", dead, "A")+", "+b)+quick, "db.test", "127.0.0.1")
	s.countEvents("server_down A up→down")
	s.names.set("db.test", "127.0.0.2")
	nettest.Wait(t, 15*time.Second, "the new address", func() bool {
		return len(s.logged(&s.lines, func(l line) bool { return l["msg"] == "host name resolved" })) > 0
	})
	require.Equal(t, "BBBB", s.requests(4))
	live.Up()
	require.Equal(t, 1, s.countEvents("server_up A down→up"))
	require.Contains(t, s.requests(2), "2")
}

// A name that no longer resolves keeps its last addresses, whether the resolver denies it or does not reply.
func TestFailedLookupKeepsAddress(t *testing.T) {
	t.Parallel()
	a, _ := startNamed(t, "A")
	s := startScript(t, cluster(often, named("db.test", a, "A")), "db.test", "127.0.0.1")
	require.Equal(t, "AA", s.requests(2))
	s.names.set("db.test")
	for asked := s.names.lookups(); s.names.lookups() < asked+3; {
		require.Equal(t, "A", s.request())
	}
	s.names.setSilent(true)
	require.Equal(t, "AAAA", s.requests(4))
	// A reload needs no answer for a name that is known.
	begin := time.Now()
	s.reload(cluster(often+"\nmax_fails = 2", named("db.test", a, "A")))
	require.Less(t, nettest.Elapsed(begin), 3*time.Second)
	require.Equal(t, "AA", s.requests(2))
	require.Empty(t, s.events())
	begin = time.Now()
	s.stop()
	require.Less(t, nettest.Elapsed(begin), 3*time.Second, "a query without a response delays no stop")
}

// A reply in another order, or with the IPv6 form of the same address, is no change.
func TestReorderedReplyIsNoChange(t *testing.T) {
	t.Parallel()
	a, _ := startNamed(t, "A")
	s := startScript(t, cluster(often, named("db.test", a, "A")), "db.test", "127.0.0.1", "127.0.0.3")
	s.names.set("db.test", "127.0.0.3", "::ffff:127.0.0.1", "127.0.0.1")
	for asked := s.names.lookups(); s.names.lookups() < asked+3; {
		require.Equal(t, "A", s.request())
	}
	require.Empty(t, s.logged(&s.lines, func(l line) bool { return l["msg"] == "host name resolved" }))
}

// A dead resolver delays a start by a bounded time, for any number of names. Servers with addresses serve.
func TestDeadResolverAtStart(t *testing.T) {
	t.Parallel()
	_, b := startNamed(t, "B")
	levels := b
	for i := range 200 {
		levels += fmt.Sprintf(", db%d.test:1 name=D%d", i, i)
	}
	dead := &script{t: t, listen: nettest.Reserve(t), names: &testResolver{mute: true}}
	cfg, err := dead.parse(cluster("", levels))
	require.NoError(t, err)
	begin := time.Now()
	e, err := engine.Start(cfg, engine.Options{Log: quiet(), Lookup: dead.names.lookup})
	require.NoError(t, err)
	require.Less(t, nettest.Elapsed(begin), 10*time.Second)
	require.Equal(t, "BBBB", dead.requests(4))
	e.Stop(context.Background())
}

// A reload with a new name that cannot be resolved fails and changes nothing. A name that was unresolved before is no
// error.
func TestReloadWithUnresolvableName(t *testing.T) {
	t.Parallel()
	a, aName := startNamed(t, "A")
	b, _ := startNamed(t, "B")
	s := startScript(t, cluster("", aName))
	other := nettest.Reserve(t)
	refused := cluster("", named("db.test", b, "B")) +
		fmt.Sprintf("[[listener]]\nname = \"m\"\naddress = %q\ncluster = \"c\"\n", other)
	err := s.tryReload(refused)
	require.ErrorContains(t, err, "db.test")
	require.ErrorContains(t, err, "cluster.c.level[0].servers[0].address: lookup ")
	require.Equal(t, "AA", s.requests(2))
	_, err = nettest.TryDial(other)
	require.Error(t, err, "nothing of it is in force")
	require.Zero(t, b.Accepted())

	s.names.set("db.test", "127.0.0.1")
	s.reload(refused)
	require.Equal(t, "BB", s.requests(2))
	require.Equal(t, 2, a.Accepted())
}

// The same with a resolver that does not reply: the reload fails in time.
func TestReloadWithDeadResolver(t *testing.T) {
	t.Parallel()
	_, a := startNamed(t, "A")
	s := startScript(t, cluster("", a))
	s.names.setSilent(true)
	begin := time.Now()
	require.ErrorContains(t, s.tryReload(cluster("", a+", db.test:1 name=D")), "db.test")
	require.Less(t, nettest.Elapsed(begin), 10*time.Second)
	require.Equal(t, "AA", s.requests(2))
}

// A longer resolve_interval applies, and a reload that shortens it takes effect at once.
func TestResolveInterval(t *testing.T) {
	t.Parallel()
	a, _ := startNamed(t, "A")
	s := startScript(t, cluster("resolve_interval = \"1h\"", named("db.test", a, "A")), "db.test", "127.0.0.1")
	require.Equal(t, 1, s.names.lookups())
	s.reload(cluster(often, named("db.test", a, "A")))
	nettest.Wait(t, 15*time.Second, "further questions", func() bool { return s.names.lookups() > 3 })
}

// Each cluster has its own interval.
func TestShortestResolveIntervalApplies(t *testing.T) {
	t.Parallel()
	a, _ := startNamed(t, "A")
	s := startScript(t, cluster("resolve_interval = \"1h\"", named("db.test", a, "A"))+
		"[cluster.d]\n"+often+"\n[[cluster.d.level]]\nservers = [\"127.0.0.1:1\"]\n", "db.test", "127.0.0.1")
	asked := s.names.lookups()
	require.Never(t, func() bool { return s.names.lookups() > asked }, 300*time.Millisecond, 20*time.Millisecond)
}

// A name in a check's address keeps its last addresses while the resolver fails. If it has never resolved, the check
// cannot run: the server keeps its state, and the cause is shown.
func TestHostNameOfCheck(t *testing.T) {
	t.Parallel()
	a, aName := startNamed(t, "A")
	_, port, _ := strings.Cut(a.Addr(), ":")
	config := cluster(often, aName) + "[[cluster.c.check]]\ntype = \"tcp\"\naddress = \"check.test\"\nport = " + port +
		"\ninterval = \"300ms\"\nfall = 1\nrise = 1\ninitial = \"down\"\n"
	s := startScript(t, config)
	nettest.Wait(t, 15*time.Second, "the problem", func() bool { return len(s.e.Status().Problems) > 0 && s.server("A").NotChecked != "" })
	require.Contains(t, s.server("A").NotChecked, "not checked since ")
	require.Contains(t, s.server("A").NotChecked, "check.test")
	require.Equal(t, "down", s.server("A").State, "initial = down, and protection does not overrule it")
	require.Equal(t, "-", s.request())
	require.Len(t, s.logged(&s.lines, func(l line) bool { return l["msg"] == "check cannot run on this host" }), 1)

	s.names.set("check.test", "127.0.0.1")
	nettest.Wait(t, 15*time.Second, "the first success", func() bool { return s.server("A").State == "up" && s.server("A").NotChecked == "" })
	s.names.set("check.test")
	for asked := s.names.lookups(); s.names.lookups() < asked+3; {
		require.Equal(t, "A", s.request())
	}
	require.Equal(t, "up", s.server("A").State)
}

// A server at a name with several addresses is up while one of them passes, and sessions skip the others.
func TestServerWithSeveralAddresses(t *testing.T) {
	t.Parallel()
	port := nettest.Reserve(t)
	first := nettest.StartAt(t, port, nettest.SendText("1"))
	_, n, _ := strings.Cut(port, ":")
	nettest.StartAt(t, "127.0.0.2:"+n, nettest.SendText("2"))
	s := startScript(t, cluster(often, named("db.test", first, "A"))+quick, "db.test", "127.0.0.1", "127.0.0.2")
	require.Equal(t, "11", s.requests(2))
	first.Down()
	nettest.Wait(t, 15*time.Second, "sessions to skip the first address", func() bool { return s.request() == "2" && s.server("A").State == "up" })
	require.Equal(t, "2222", s.requests(4))
	s.reload(cluster(often+"\ntry = 3", named("db.test", first, "A")) + quick)
	require.Equal(t, "22", s.requests(2), "a reload keeps it")
	first.Up()
	nettest.Wait(t, 15*time.Second, "sessions to use the first address again", func() bool { return s.request() == "1" })
	require.Empty(t, s.events())
}
