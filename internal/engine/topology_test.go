package engine_test

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/checks"
	"weir/conf"
	"weir/internal/engine"
	"weir/internal/nettest"
	"weir/internal/state"
	"weir/internal/status"
	"weir/internal/topology"
)

// scriptedSource is a source of roles that a test controls.
type scriptedSource struct {
	mu       sync.Mutex
	watchers []*scriptedWatcher
	missing  string // a file that cannot be read
}

// scriptedWatcher is a watcher of a scripted source.
type scriptedWatcher struct {
	topology.Options
	mu      sync.Mutex
	servers []topology.Server
	resets  int
	closed  bool
}

func (w *scriptedWatcher) SetServers(s []topology.Server) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.servers = s
}

func (w *scriptedWatcher) Reset() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.resets++
}

func (w *scriptedWatcher) Close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
}

// prepare is topology.Prepare.
func (s *scriptedSource) prepare(spec conf.Topology) (topology.Source, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.missing != "" && spec.Password.File == s.missing {
		return topology.Source{}, checks.OptionError{Option: "password_file", Err: errors.New("open " + s.missing + ": no such file")}
	}
	return topology.Source{Start: func(o topology.Options) topology.Watcher {
		w := &scriptedWatcher{Options: o, servers: o.Servers}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.watchers = append(s.watchers, w)
		return w
	}}, nil
}

// last returns the last watcher, and how many there were.
func (s *scriptedSource) last() (*scriptedWatcher, int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.watchers[len(s.watchers)-1], len(s.watchers)
}

// view returns a decision: the address of the primary, and those of the replicas.
func view(epoch uint64, primary string, replicas ...string) topology.View {
	now := time.Now()
	v := topology.View{Primary: primary, Epoch: epoch, Fence: epoch, DecidedAt: now, LastEvidence: now.Add(-2 * time.Second)}
	v.Source = fmt.Sprintf("sentinel: primary is %s, epoch %d", primary, epoch)
	if primary != "" {
		v.Members = append(v.Members, topology.Member{Address: primary, Role: topology.Primary})
	}
	for _, r := range replicas {
		v.Members = append(v.Members, topology.Member{Address: r, Role: topology.Replica})
	}
	return v
}

// decide publishes a decision through the last watcher.
func (s *scriptedSource) decide(epoch uint64, primary string, replicas ...string) {
	w, _ := s.last()
	w.Publish(view(epoch, primary, replicas...))
}

// sentinel is the table of a topology.
func sentinel(keys string) string {
	return "[cluster.c.topology]\ntype = \"sentinel\"\nsentinels = [\"127.0.0.1:1\"]\nmaster = \"m\"\n" + keys + "\n"
}

// startTopology starts an engine with a scripted source.
func startTopology(t *testing.T, config string, earlier *state.Snapshot) (*script, *scriptedSource) {
	t.Helper()
	source := &scriptedSource{}
	s := &script{t: t, listen: nettest.Reserve(t), names: &testResolver{}}
	s.startWith(config, source, earlier)
	t.Cleanup(s.stop)
	return s, source
}

// startWith starts the engine of the script with a source.
func (s *script) startWith(config string, source *scriptedSource, earlier *state.Snapshot) {
	s.t.Helper()
	cfg, err := s.parse(config)
	require.NoError(s.t, err)
	s.e, err = engine.Start(cfg, engine.Options{
		Log: slog.New(&logSink{script: s, to: &s.lines}), Sessions: s.collectRecords, Lookup: s.names.lookup, SavedState: earlier, Topology: source.prepare,
	})
	require.NoError(s.t, err)
}

// topology returns the topology of the status document.
func (s *script) topology() *status.Topology { return s.e.Status().Clusters[0].Topology }

// event waits for the n-th event of a kind and returns it.
func (s *script) event(kind string, n int) status.Event {
	s.t.Helper()
	var found status.Event
	nettest.Wait(s.t, 5*time.Second, fmt.Sprintf("event %d of kind %s", n, kind), func() bool {
		events, _, _ := s.e.Events(s.t.Context(), 0, false)
		count := 0
		for _, ev := range events {
			if ev.Event == kind {
				if count++; count == n {
					found = ev
					return true
				}
			}
		}
		return false
	})
	return found
}

// addressOf returns the address in the table of a server.
func addressOf(server string) string { address, _, _ := strings.Cut(server, " "); return address }

// The primary of the source gets the sessions: none before the first decision, and the new one after each. Sessions on the
// old one are cut or stay, and are counted.
func TestTopologyMovesSessions(t *testing.T) {
	t.Parallel()
	for _, onDown := range []string{"close", "keep"} {
		t.Run(onDown, func(t *testing.T) {
			t.Parallel()
			_, a := startGreeter(t, "A")
			_, b := startGreeter(t, "B")
			s, source := startTopology(t, cluster("on_down = \""+onDown+"\"", a+", "+b)+sentinel(""), nil)
			require.Equal(t, "-", s.request())
			require.Equal(t, "sentinel: no decision yet", s.server("A").Reason)
			source.decide(7, addressOf(a), addressOf(b))
			onA := s.openSession("A")
			first := s.event("primary_change", 1)
			require.Equal(t, []any{"", "A", "sentinel", uint64(7), 2000.0}, []any{first.From, first.To, first.Source, first.Epoch, *first.DetectedMS})
			require.Equal(t, "standby", s.server("B").State)
			require.Equal(t, "sentinel: primary is "+addressOf(a)+", epoch 7", s.server("B").Reason)

			source.decide(8, addressOf(b), addressOf(a))
			onB := s.openSession("B")
			if onDown == "close" {
				s.requireCut(onA, "relay cut_demoted")
				require.Zero(t, s.topology().WithoutRole)
			} else {
				requireOpen(t, onA)
				require.Equal(t, 1, s.topology().WithoutRole)
			}
			requireOpen(t, onB)
			change, over := s.event("primary_change", 2), s.event("failover", 1)
			require.Equal(t, []any{"A", "B", uint64(8)}, []any{change.From, change.To, change.Epoch})
			require.Equal(t, []any{"A", "B", uint64(8), map[string]int{"close": 1}[onDown]}, []any{over.From, over.To, over.Epoch, *over.Closed})
			require.NotNil(t, over.FirstSessionMS)
			require.Zero(t, *over.Held+*over.Released)
			require.NotContains(t, s.events(), "cluster_empty")
			m := s.e.Metrics().Clusters[0]
			require.Equal(t, status.TopologyMetrics{Primary: true, Epoch: 8, Changes: 1, WithoutRole: s.topology().WithoutRole}, *m.Topology)
			require.Equal(t, "primary", m.Servers[1].Role)
		})
	}
}

// Sessions that are about to begin on the old primary pick again: also one whose dial completes just after the switch, and
// one that waited for room there.
func TestNoSessionBeginsOnOldPrimary(t *testing.T) {
	t.Parallel()
	_, aName := startGreeter(t, "A")
	_, bName := startGreeter(t, "B")
	s, source := startTopology(t, cluster("on_down = \"close\"\nqueue_timeout = \"5s\"", aName+" max_sessions=4, "+bName+" max_sessions=4")+sentinel(""), nil)
	names := []string{"A", "B"}
	addresses := []string{addressOf(aName), addressOf(bName)}
	source.decide(1, addresses[0], addresses[1])
	var clients sync.WaitGroup
	stop := make(chan struct{})
	for range 8 {
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				c, err := net.Dial("tcp", s.listen)
				if err != nil {
					continue
				}
				c.SetDeadline(time.Now().Add(20 * time.Millisecond))
				c.Read(make([]byte, 1))
				c.Close()
			}
		})
	}
	for i := 1; i <= 60; i++ {
		now := i % 2
		source.decide(uint64(i+1), addresses[now], addresses[1-now])
		nettest.Wait(t, 5*time.Second, "no session on "+names[1-now], func() bool { return s.topology().WithoutRole == 0 })
		for range 20 { // and none comes later
			require.Zero(t, s.topology().WithoutRole)
		}
	}
	close(stop)
	clients.Wait()
	for _, l := range s.logged(&s.records, func(l line) bool { return l.end() == "relay cut_server_down" }) {
		t.Error("another reason than cut_demoted", l)
	}
}

// With on_down = "keep" too, a session that is still dialling the old primary picks again immediately.
func TestDiallingSessionLeavesOldPrimary(t *testing.T) {
	t.Parallel()
	for _, onDown := range []string{"keep", "close"} {
		full := nettest.FullBacklog(t)
		_, b := startGreeter(t, "B")
		s, source := startTopology(t, cluster("connect_timeout = \"30s\"\non_down = \""+onDown+"\"", full+" name=A, "+b)+sentinel(""), nil)
		source.decide(1, full, addressOf(b))
		c := nettest.Dial(t, s.listen)
		nettest.Wait(t, 5*time.Second, "the dial", func() bool { return s.server("A").Sessions == 1 })
		source.decide(2, addressOf(b), full)
		require.Equal(t, "B", read(t, c, 1), "on_down = %s", onDown)
		requireOpen(t, c)
		require.Zero(t, *s.event("failover", 1).Closed)
	}
}

// Neither failing checks nor agents, protection or an override of ready let a replica serve where the primary is wanted.
func TestReplicaNeverServesAsPrimary(t *testing.T) {
	t.Parallel()
	a, aName := startGreeter(t, "A")
	_, b := startGreeter(t, "B")
	s, source := startTopology(t, cluster("protected = true", aName+", "+b)+quick+sentinel(""), nil)
	source.decide(1, addressOf(aName), addressOf(b))
	s.openSession("A")
	a.Down()
	s.countEvents("server_down A up→unstable")
	require.Equal(t, "standby", s.server("B").State)
	require.NoError(t, s.e.Override("test", "c", "B", []byte(`{"state": "ready"}`)))
	require.Equal(t, "standby", s.server("B").State)
	require.Equal(t, "-", s.request())
	require.NoError(t, s.e.Override("test", "c", "A", []byte(`{"state": "maint"}`)))
	require.Equal(t, "maint", s.server("A").State)
	require.Equal(t, "standby", s.server("B").State)
	source.decide(2, addressOf(b), addressOf(aName))
	s.openSession("B")
	require.Equal(t, "maint", s.server("A").State)
}

// A reload keeps the watcher and its decision if the source stays the same, tells it of other servers, and otherwise starts
// another one with the saved decision.
func TestReloadKeepsTopology(t *testing.T) {
	t.Parallel()
	_, a := startGreeter(t, "A")
	_, b := startGreeter(t, "B")
	s, source := startTopology(t, cluster("", a+", "+b)+sentinel(""), nil)
	source.decide(5, addressOf(a), addressOf(b))
	onA := s.openSession("A")
	w, n := source.last()
	s.reload(cluster("try = 3", b+", "+a) + sentinel(""))
	_, again := source.last()
	require.Equal(t, n, again)
	s.openSession("A")
	s.reload(cluster("", addressOf(a)+" name=renamed, "+b) + sentinel(""))
	_, again = source.last()
	require.Equal(t, n, again)
	require.Equal(t, "renamed", w.servers[0].Name)
	require.Equal(t, []string{"up", "standby"}, []string{s.server("renamed").State, s.server("B").State})
	requireOpen(t, onA)
	require.NotContains(t, s.events(), "cluster_empty")

	s.reload(cluster("", a+", "+b) + sentinel("interval = \"700ms\""))
	nettest.Wait(t, time.Second, "the old watcher to end", func() bool { w.mu.Lock(); defer w.mu.Unlock(); return w.closed })
	next, again := source.last()
	require.Equal(t, n+1, again)
	require.Equal(t, topology.Saved{Primary: addressOf(a), Epoch: 5, At: next.Saved.At, Members: []topology.SavedMember{
		{Address: addressOf(a), Role: "primary"}, {Address: addressOf(b), Role: "replica"},
	}}, next.Saved)
	require.NotNil(t, s.topology().StaleSince)
	s.openSession("A")
	w.Publish(view(9, addressOf(b), addressOf(a))) // a late one of the old watcher
	s.openSession("A")
	next.Publish(view(6, addressOf(b), addressOf(a)))
	s.openSession("B")
	require.Nil(t, s.topology().StaleSince)

	s.reload(cluster("", a+", "+b) + strings.Replace(sentinel(""), `"m"`, `"other"`, 1))
	require.Equal(t, "-", s.request(), "the decision of another data store says nothing")

	source.mu.Lock()
	source.missing = "/none"
	source.mu.Unlock()
	require.ErrorContains(t, s.tryReload(cluster("", a+", "+b)+sentinel("user = \"u\"\npassword_file = \"/none\"")),
		"weir.toml:16:17: cluster.c.topology.password_file: open /none: no such file")
	s.reload(cluster("", a+", "+b))
	s.openSession("A")
	require.Nil(t, s.topology())
	last, _ := source.last()
	nettest.Wait(t, time.Second, "the last watcher to end", func() bool { last.mu.Lock(); defer last.mu.Unlock(); return last.closed })
}

// After a restart the saved decision is in force, stale, until the source answers.
func TestTopologySurvivesRestart(t *testing.T) {
	t.Parallel()
	_, a := startGreeter(t, "A")
	_, b := startGreeter(t, "B")
	s, source := startTopology(t, cluster("", a+", "+b)+sentinel(""), nil)
	source.decide(5, addressOf(b), addressOf(a))
	s.openSession("B")
	saved := s.e.SavedState()
	text, err := state.Encode(saved)
	require.NoError(t, err)
	again, err := state.Decode(text)
	require.NoError(t, err)
	s.stop()

	s, source = startTopology(t, cluster("", a+", "+b)+sentinel(""), &again)
	s.openSession("B")
	require.NotNil(t, s.topology().StaleSince)
	require.Equal(t, uint64(5), s.topology().Epoch)
	w, _ := source.last()
	require.Equal(t, []any{addressOf(b), uint64(5)}, []any{w.Saved.Primary, w.Saved.Epoch})
	var texts []string
	for _, p := range s.e.Status().Problems {
		texts = append(texts, p.Text)
	}
	require.Contains(t, texts, "topology stale: the last decision stays in force")
	require.Empty(t, s.events(), "nothing is decided yet")
	source.decide(5, addressOf(b), addressOf(a))
	first := s.event("primary_change", 1)
	require.Equal(t, []string{"", "B"}, []string{first.From, first.To})
	require.Nil(t, s.topology().StaleSince)
	s.stop()

	s, source = startTopology(t, cluster("", a+", "+b)+sentinel(""), &again)
	source.decide(6, addressOf(a), addressOf(b)) // it has changed meanwhile
	first = s.event("primary_change", 1)
	require.Equal(t, []string{"B", "A"}, []string{first.From, first.To})
	s.openSession("A")
	require.Equal(t, "A", s.event("failover", 1).To)
}

// Servers that the source lists are added to the first level and removed when it no longer lists them. A server of the file
// with the same address is not added again.
func TestDiscover(t *testing.T) {
	t.Parallel()
	_, a := startGreeter(t, "A")
	_, b := startGreeter(t, "B")
	_, c := startGreeter(t, "C")
	at := []string{addressOf(a), addressOf(b), addressOf(c)}
	config := cluster("") + sentinel("discover = true\n[cluster.c.topology.server]\nmax_sessions = 9")
	s, source := startTopology(t, config, nil)
	require.Equal(t, "-", s.request())
	listed := func(want ...string) {
		t.Helper()
		nettest.Wait(t, 5*time.Second, fmt.Sprint("servers ", want), func() bool {
			var got []string
			for _, srv := range s.e.Status().Clusters[0].Levels[0].Servers {
				got = append(got, srv.Name)
			}
			return fmt.Sprint(got) == fmt.Sprint(want)
		})
	}
	source.decide(1, at[0], at[1], at[2], s.listen, "10.0.0.1", "unix:/run/x") // those after the third cannot be used
	sorted := func(names ...string) []string { return slices.Sorted(slices.Values(names)) }
	listed(sorted(at...)...)
	onA := s.openSession("A")
	x := s.server(at[1])
	require.Equal(t, []any{"topology", "standby", "replica", 9}, []any{x.Origin, x.State, x.Role, x.MaxSessions})
	problems := map[string]string{}
	for _, m := range s.topology().Members {
		problems[m.Address] = m.Problem
	}
	require.Contains(t, problems[s.listen], "points back to listener l")
	require.NotEmpty(t, problems["10.0.0.1"])

	require.ErrorContains(t, s.e.RemoveServer(status.RuntimeChange{}, "c", at[1]), "found by its topology")
	s.reload(config)
	listed(sorted(at...)...)
	requireOpen(t, onA)
	s.reload(cluster("", b) + sentinel("discover = true"))
	listed(append([]string{"B"}, sorted(at[0], at[2])...)...)
	source.decide(2, at[1], at[2]) // A is gone
	listed("B", at[2])
	s.openSession("B")
	requireOpen(t, onA)
	w, _ := source.last()
	stale := view(2, at[1])
	stale.Stale = time.Now()
	w.Publish(stale)
	listed("B", at[2])
	source.decide(2, at[1], at[2])
	require.Empty(t, s.e.SavedState().Clusters[0].Added)
	plan, err := s.e.Plan("", []byte(strings.ReplaceAll(cluster("", b)+sentinel("discover = true"), "LISTEN", s.listen)), nil)
	require.NoError(t, err)
	require.Empty(t, plan.Steps, "a plan keeps what a reload keeps")

	saved := s.e.SavedState()
	s.stop()
	s, _ = startTopology(t, cluster("", b)+sentinel("discover = true"), &saved)
	listed("B", at[2])
	s.openSession("B")
}

// A source may announce names; a server may be a name with several addresses.
func TestTopologyMatchesNames(t *testing.T) {
	t.Parallel()
	_, a := startGreeter(t, "A")
	_, b := startGreeter(t, "B")
	_, portA, _ := net.SplitHostPort(addressOf(a))
	_, portB, _ := net.SplitHostPort(addressOf(b))
	source := &scriptedSource{}
	s := &script{t: t, listen: nettest.Reserve(t), names: &testResolver{}}
	s.names.set("a.example", "127.0.0.1", "127.0.0.9")
	s.names.set("b.example", "127.0.0.1")
	s.startWith(cluster("", "a.example:"+portA+" name=A, "+b)+sentinel(""), source, nil)
	t.Cleanup(s.stop)
	source.decide(1, "127.0.0.9:"+portA, addressOf(b))
	require.Equal(t, "up", s.server("A").State)
	source.decide(2, "b.example:"+portB, "a.example:"+portA)
	nettest.Wait(t, 5*time.Second, "the announced name to be resolved", func() bool { return s.server("B").State == "up" })
	s.openSession("B")
	require.Equal(t, "replica", s.server("A").Role)
	require.Equal(t, "B", s.topology().Primary)
}

// replica_first, and the words of the roles in explain.
func TestReplicaFirstThroughEngine(t *testing.T) {
	t.Parallel()
	_, a := startGreeter(t, "A")
	b, bName := startGreeter(t, "B")
	s, source := startTopology(t, cluster("", a+", "+bName)+quick+sentinel("role = \"replica_first\""), nil)
	source.decide(1, addressOf(a), addressOf(bName))
	s.openSession("B")
	b.Down()
	s.countEvents("server_down B up→down")
	s.openSession("A")
	b.Up()
	s.countEvents("server_up B down→up")
	s.openSession("B")
	require.Equal(t, "primary", layer(s.server("A"), "topology").Says)
	require.True(t, layer(s.server("A"), "topology").Decides)
	require.Equal(t, "replica", layer(s.server("B"), "topology").Says)
}

// A conflict closes nothing and names none; a reset reaches the watcher.
func TestTopologyConflictAndReset(t *testing.T) {
	t.Parallel()
	_, a := startGreeter(t, "A")
	_, b := startGreeter(t, "B")
	s, source := startTopology(t, cluster("on_down = \"close\"", a+", "+b)+sentinel(""), nil)
	source.decide(1, addressOf(a), addressOf(b))
	onA := s.openSession("A")
	conflict := view(1, "")
	conflict.Problem = "conflict: two addresses reach the quorum"
	conflict.Source = "sentinel: conflict"
	w, _ := source.last()
	w.Publish(conflict)
	require.Equal(t, "-", s.request())
	requireOpen(t, onA)
	problems := s.e.Status().Problems
	require.Equal(t, []string{"critical", "no primary", "conflict: two addresses reach the quorum"}, []string{problems[0].Severity, problems[0].Text, problems[0].Reason})
	require.NoError(t, s.e.ResetTopology("test", "c"))
	require.Equal(t, 1, w.resets)
	require.ErrorContains(t, s.e.ResetTopology("test", "none"), "no cluster none")
	source.decide(2, addressOf(b), addressOf(a))
	s.requireCut(onA, "relay cut_demoted")
	over := s.event("primary_change", 3)
	require.Equal(t, []string{"", "B"}, []string{over.From, over.To})
}

// A view with a member that is not the address of one host, and names that lead there, to weir itself or to one server, is
// applied once: the servers do not depend on those that were found before, and the watcher does not get them.
func TestFoundServersDependOnTheViewAlone(t *testing.T) {
	t.Parallel()
	_, a := startGreeter(t, "A")
	at := addressOf(a)
	_, port, _ := net.SplitHostPort(at)
	source := &scriptedSource{}
	s := &script{t: t, listen: nettest.Reserve(t), names: &testResolver{}}
	s.names.set("zero.example", "0.0.0.0")
	s.names.set("many.example", "224.0.0.1")
	s.names.set("self.example", "127.0.0.1")
	s.names.set("same.example", "127.0.0.1")
	api := nettest.Reserve(t)
	_, own, _ := net.SplitHostPort(s.listen)
	s.startWith(cluster("")+sentinel("discover = true")+"[admin]\nlisten = [\""+api+"\"]\n", source, nil)
	t.Cleanup(s.stop)
	members := []string{"0.0.0.0:" + port, "zero.example:" + port, "many.example:" + port, "self.example:" + own, api, "same.example:" + port, "a b:1"}
	source.decide(1, at, members...)
	lines := func() int {
		return len(s.logged(&s.lines, func(l line) bool { return l["msg"] == "servers from topology" }))
	}
	nettest.Wait(t, 5*time.Second, "the server", func() bool { return len(s.e.Status().Clusters[0].Levels[0].Servers) == 1 })
	s.openSession("A")
	for i := range 20 {
		source.decide(uint64(i+2), at, members...)
	}
	nettest.Wait(t, 5*time.Second, "the last view", func() bool { return s.topology().Epoch == 21 })
	_, b := startGreeter(t, "B")
	source.decide(30, at, append(slices.Clone(members), addressOf(b))...)
	nettest.Wait(t, 5*time.Second, "the other server", func() bool { return len(s.e.Status().Clusters[0].Levels[0].Servers) == 2 })
	nettest.Wait(t, 5*time.Second, "two lines", func() bool { return lines() >= 2 })
	require.Equal(t, 2, lines())
	w, _ := source.last()
	w.mu.Lock()
	require.Empty(t, w.servers)
	w.mu.Unlock()
	problems := map[string]string{}
	for _, m := range s.topology().Members {
		problems[m.Address] = m.Problem
	}
	for _, m := range []string{"zero.example:" + port, "many.example:" + port} {
		require.Contains(t, problems[m], "is not the address of one host", m)
	}
	require.NotEmpty(t, problems["0.0.0.0:"+port])
	require.Contains(t, problems[api], "is the API of weir itself")
	require.Contains(t, problems["self.example:"+own], "points back to listener l")
}

// A found server leaves when its name comes to lead to weir itself, and returns afterwards.
func TestFoundNameThatComesToLeadToWeir(t *testing.T) {
	t.Parallel()
	_, a := startGreeter(t, "A")
	_, port, _ := net.SplitHostPort(addressOf(a))
	list := filepath.Join(t.TempDir(), "servers.json")
	require.NoError(t, os.WriteFile(list, []byte(`[{"targets": ["db.example:`+port+`"]}]`), 0o644))
	s := &script{t: t, listen: nettest.Reserve(t), names: &testResolver{}}
	s.names.set("db.example", "127.0.0.1")
	config := "[cluster.c]\nresolve_interval = \"50ms\"\n[[cluster.c.level]]\n[cluster.c.level.discover]\ntype = \"file\"\npath = \"" + list + "\"\n" +
		"[[listener]]\nname = \"l\"\naddress = \"LISTEN\"\ncluster = \"c\"\n[admin]\nlisten = [\"127.0.0.9:" + port + "\"]\n"
	s.startWith(config, &scriptedSource{}, nil)
	t.Cleanup(s.stop)
	count := func() int { return len(s.e.Status().Clusters[0].Levels[0].Servers) }
	require.Equal(t, 1, count())
	s.openSession("A")
	s.names.set("db.example", "127.0.0.9")
	nettest.Wait(t, 5*time.Second, "the server to leave", func() bool { return count() == 0 })
	d := s.e.Status().Clusters[0].Levels[0].Discovery
	require.Contains(t, d.Bad[0].Reason, "is the API of weir itself")
	s.names.set("db.example", "127.0.0.1")
	nettest.Wait(t, 20*time.Second, "the server to return", func() bool { return count() == 1 })
}
