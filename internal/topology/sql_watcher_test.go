package topology

import (
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/conf"
	"weir/internal/nettest"
)

// viewRecorder keeps the views that a watcher has published.
type viewRecorder struct {
	mu    sync.Mutex
	views []View
}

func (r *viewRecorder) publish(v View) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.views = append(r.views, v)
}

// last returns the last view.
func (r *viewRecorder) last() View {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.views) == 0 {
		return View{}
	}
	return r.views[len(r.views)-1]
}

// primaries returns the primaries in the order of the decisions, from the first one.
func (r *viewRecorder) primaries() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []string
	for _, v := range r.views {
		if len(list) == 0 && v.Primary != "" || len(list) > 0 && list[len(list)-1] != v.Primary {
			list = append(list, v.Primary)
		}
	}
	return list
}

// serversAt returns servers of a cluster with addresses as names.
func serversAt(addresses ...string) []Server {
	var list []Server
	for _, a := range addresses {
		list = append(list, Server{Name: a, Address: a, Addresses: []netip.AddrPort{netip.MustParseAddrPort(a)}})
	}
	return list
}

// mysqlSpec returns the options of a watcher for tests.
func mysqlSpec(kind string) conf.Topology {
	return conf.Topology{
		Type: kind, Interval: 500 * time.Millisecond, Timeout: 500 * time.Millisecond, Fall: 2, OnConflict: "none",
		User: "weir", Password: conf.Secret{Value: "secret"},
	}
}

// watchSQL starts a watcher until the test ends.
func watchSQL(t *testing.T, o Options) (Watcher, *viewRecorder) {
	t.Helper()
	r := &viewRecorder{}
	o.Publish = r.publish
	return startWatcher(t, o), r
}

// startWatcher starts a watcher until the test ends.
func startWatcher(t *testing.T, o Options) Watcher {
	t.Helper()
	s, err := Prepare(o.Spec)
	require.NoError(t, err)
	w := s.Start(o)
	t.Cleanup(w.Close)
	return w
}

// waitPrimary waits until the address is the primary, and returns the view.
func (r *viewRecorder) waitPrimary(t *testing.T, within time.Duration, address string) View {
	t.Helper()
	nettest.Wait(t, within, "primary "+address, func() bool {
		v := r.last()
		return v.Primary == address && !v.DecidedAt.IsZero()
	})
	return r.last()
}

// roles returns the roles of the members by address.
func (v View) roles() map[string]Role {
	roles := map[string]Role{}
	for _, m := range v.Members {
		roles[m.Address] = m.Role
	}
	return roles
}

func TestMySQLSwitchOver(t *testing.T) {
	t.Parallel()
	a := startScriptedMySQL(t, uuidA, uuidA+":1-100")
	b := startScriptedMySQL(t, uuidB, uuidA+":1-100")
	b.set("read_only", "ON", "super_read_only", "ON")
	b.change(func() {
		b.replication = []map[string]string{{"Replica_IO_Running": "Yes", "Replica_SQL_Running": "Yes", "Channel_Name": ""}}
	})
	_, r := watchSQL(t, Options{Spec: mysqlSpec("mysql"), Servers: serversAt(a.Addr(), b.Addr())})
	v := r.waitPrimary(t, 20*time.Second, a.Addr())
	require.Equal(t, "mysql: primary is "+a.Addr(), v.Source)
	require.Equal(t, uuidA+":1-100", v.GTID)
	require.True(t, v.LastEvidence.IsZero())
	require.Equal(t, map[string]Role{a.Addr(): Primary, b.Addr(): Replica}, v.roles())

	a.set("read_only", "ON", "super_read_only", "ON")
	v = r.waitPrimary(t, 20*time.Second, "")
	require.Equal(t, "mysql: no server is writable", v.Source)
	require.False(t, v.LastEvidence.IsZero())
	b.set("read_only", "OFF", "super_read_only", "OFF", "gtid_executed", uuidA+":1-100,\n"+uuidB+":1-3")
	v = r.waitPrimary(t, 20*time.Second, b.Addr())
	require.Equal(t, uuidA+":1-100,?"+uuidB+":1-3", v.GTID)
	require.Equal(t, map[string]Role{a.Addr(): Replica, b.Addr(): Primary}, v.roles())
	require.True(t, v.DecidedAt.After(v.LastEvidence))
	require.Equal(t, []string{a.Addr(), "", b.Addr()}, r.primaries())
	a.mu.Lock()
	defer a.mu.Unlock()
	require.Equal(t, 1, a.logins, "the session is kept between polls")
}

// A server whose process ends is given up at once, not after an interval.
func TestDeadPrimaryIsGivenUpQuickly(t *testing.T) {
	t.Parallel()
	a := startScriptedMySQL(t, uuidA, uuidA+":1-100")
	b := startScriptedMySQL(t, uuidB, uuidA+":1-100")
	b.set("read_only", "ON")
	spec := mysqlSpec("mysql")
	spec.Interval = 20 * time.Second
	_, r := watchSQL(t, Options{Spec: spec, Servers: serversAt(a.Addr(), b.Addr())})
	r.waitPrimary(t, 20*time.Second, a.Addr())
	began := time.Now()
	a.Close()
	v := r.waitPrimary(t, 10*time.Second, "")
	t.Logf("no primary after %v", time.Since(began))
	require.Less(t, nettest.Elapsed(began), 5*time.Second)
	require.Equal(t, Other, v.roles()[a.Addr()])
	require.Contains(t, v.Members[indexOf(v, a.Addr())].Reason, "refused")
}

func indexOf(v View, address string) int {
	for i, m := range v.Members {
		if m.Address == address {
			return i
		}
	}
	return -1
}

// A server that accepts connections and does not answer is given up after two timeouts, and returns when it answers.
func TestHungPrimaryIsGivenUp(t *testing.T) {
	t.Parallel()
	a := startScriptedMySQL(t, uuidA, uuidA+":1-100")
	b := startScriptedMySQL(t, uuidB, uuidA+":1-100")
	b.set("read_only", "ON")
	_, r := watchSQL(t, Options{Spec: mysqlSpec("mysql"), Servers: serversAt(a.Addr(), b.Addr())})
	r.waitPrimary(t, 20*time.Second, a.Addr())
	a.change(func() { a.hung = true })
	r.waitPrimary(t, 10*time.Second, "")
	b.set("read_only", "OFF")
	r.waitPrimary(t, 20*time.Second, b.Addr())
	// The old primary comes back, writable and without what the new one has written.
	b.set("gtid_executed", uuidA+":1-100,"+uuidB+":1")
	a.change(func() { a.hung = false })
	nettest.Wait(t, 5*time.Second, "the old primary to be known", func() bool { return r.last().roles()[a.Addr()] == Other })
	require.Equal(t, b.Addr(), r.last().Primary)
	require.Equal(t, []string{a.Addr(), "", b.Addr()}, r.primaries())
}

// A full server works: it keeps its role.
func TestFullPrimaryKeepsItsRole(t *testing.T) {
	t.Parallel()
	a := startScriptedMySQL(t, uuidA, uuidA+":1-100")
	spec := mysqlSpec("mysql")
	_, r := watchSQL(t, Options{Spec: spec, Servers: serversAt(a.Addr())})
	r.waitPrimary(t, 20*time.Second, a.Addr())
	a.change(func() { a.full = true })
	a.Reset()
	nettest.Wait(t, 5*time.Second, "the view to be stale", func() bool { return !r.last().Stale.IsZero() })
	logins := func() int {
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.logins
	}
	before := logins()
	nettest.Wait(t, 10*time.Second, "further polls", func() bool { return logins() > before+4 })
	require.Equal(t, []string{a.Addr()}, r.primaries())
	a.change(func() { a.full = false })
	nettest.Wait(t, 5*time.Second, "the view to be confirmed", func() bool { return r.last().Stale.IsZero() })
}

func TestTwoWritableServers(t *testing.T) {
	t.Parallel()
	a := startScriptedMySQL(t, uuidA, uuidA+":1-100")
	b := startScriptedMySQL(t, uuidB, uuidA+":1-100,"+uuidB+":1-5")
	_, r := watchSQL(t, Options{Spec: mysqlSpec("mysql"), Servers: serversAt(a.Addr(), b.Addr())})
	v := r.waitPrimary(t, 20*time.Second, b.Addr())
	require.Equal(t, fmt.Sprintf("mysql: primary is %s, its GTIDs include those of %s", b.Addr(), a.Addr()), v.Source)
	a.set("gtid_executed", uuidA+":1-101")
	v = r.waitPrimary(t, 20*time.Second, "")
	require.Contains(t, v.Problem, "their data has diverged")
	require.Equal(t, map[string]Role{a.Addr(): Other, b.Addr(): Other}, v.roles())
	b.set("gtid_executed", uuidA+":1-101")
	nettest.Wait(t, 5*time.Second, "equal sets", func() bool { return strings.Contains(r.last().Problem, "their GTIDs are equal") })
	a.set("read_only", "ON")
	v = r.waitPrimary(t, 20*time.Second, b.Addr())
	require.Empty(t, v.Problem)
}

func TestConflictKeepsTheCurrentPrimary(t *testing.T) {
	t.Parallel()
	a := startScriptedMySQL(t, uuidA, uuidA+":1-100")
	b := startScriptedMySQL(t, uuidB, uuidA+":1-100,"+uuidB+":1-5")
	a.set("read_only", "ON")
	spec := mysqlSpec("mysql")
	spec.OnConflict = "keep"
	w, r := watchSQL(t, Options{Spec: spec, Servers: serversAt(a.Addr(), b.Addr())})
	r.waitPrimary(t, 20*time.Second, b.Addr())
	a.set("read_only", "OFF", "gtid_executed", uuidA+":1-101")
	nettest.Wait(t, 5*time.Second, "the conflict", func() bool { return strings.Contains(r.last().Problem, "diverged") })
	require.Equal(t, b.Addr(), r.last().Primary)
	w.Reset()
	r.waitPrimary(t, 20*time.Second, "")
}

// After a start nothing is decided before all servers were asked, and a saved decision stays in force.
func TestStartWaitsForAllServers(t *testing.T) {
	t.Parallel()
	a := startScriptedMySQL(t, uuidA, uuidA+":1-100")
	b := startScriptedMySQL(t, uuidB, uuidA+":1-100,"+uuidB+":1")
	b.change(func() { b.hung = true })
	_, r := watchSQL(t, Options{Spec: mysqlSpec("mysql"), Servers: serversAt(a.Addr(), b.Addr()), Saved: Saved{Primary: b.Addr(), At: epoch}})
	nettest.Wait(t, 5*time.Second, "a query", func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return len(a.queries) > 3
	})
	require.Empty(t, r.last().Members)
	r.waitPrimary(t, 10*time.Second, a.Addr())
	require.Equal(t, []string{a.Addr()}, r.primaries())
}

// A server that is added does not lose the current primary its role, and one that is removed does.
func TestServersChange(t *testing.T) {
	t.Parallel()
	a := startScriptedMySQL(t, uuidA, uuidA+":1-100")
	b := startScriptedMySQL(t, uuidB, uuidA+":1-100")
	b.set("read_only", "ON")
	w, r := watchSQL(t, Options{Spec: mysqlSpec("mysql"), Servers: serversAt(a.Addr())})
	r.waitPrimary(t, 20*time.Second, a.Addr())
	w.SetServers(serversAt(b.Addr(), a.Addr()))
	nettest.Wait(t, 5*time.Second, "the replica", func() bool { return r.last().roles()[b.Addr()] == Replica })
	require.Equal(t, []string{a.Addr()}, r.primaries())
	w.SetServers(serversAt(b.Addr()))
	r.waitPrimary(t, 20*time.Second, "")
	b.set("read_only", "OFF")
	r.waitPrimary(t, 20*time.Second, b.Addr())
	// Two names of one address are one server.
	two := serversAt(b.Addr(), b.Addr())
	two[1].Name = "second"
	w.SetServers(two)
	nettest.Wait(t, 5*time.Second, "two members", func() bool { return len(r.last().Members) == 2 })
	v := r.last()
	require.Equal(t, Primary, v.Members[0].Role)
	require.Equal(t, Primary, v.Members[1].Role)
	b.mu.Lock()
	defer b.mu.Unlock()
	require.Equal(t, 1, b.logins)
}

// A server whose name has no address is not asked and delays nothing.
func TestUnresolvedServer(t *testing.T) {
	t.Parallel()
	a := startScriptedMySQL(t, uuidA, uuidA+":1-100")
	servers := append(serversAt(a.Addr()), Server{Name: "gone", Address: "gone.invalid:3306"})
	_, r := watchSQL(t, Options{Spec: mysqlSpec("mysql"), Servers: servers})
	v := r.waitPrimary(t, 20*time.Second, a.Addr())
	require.Equal(t, "no answer: its name has no address", v.Members[indexOf(v, "gone.invalid:3306")].Reason)
}

// After a pause of the process, answers from before it decide nothing.
func TestAnswersFromBeforeAPauseDecideNothing(t *testing.T) {
	now := time.Now()
	require.False(t, paused(now, now.Add(time.Second), now.Add(time.Second), 100*time.Millisecond))
	require.True(t, paused(now, now.Add(time.Second), now.Add(800*time.Millisecond), 100*time.Millisecond))
	require.False(t, paused(now, now.Add(time.Second), time.Time{}, 100*time.Millisecond))
	a, b := mysqlNode("a", readOnly(uuidA+":1")), mysqlNode("b", writable(uuidA+":1"))
	for _, n := range []*sqlNode{&a, &b} {
		n.restart(now)
	}
	w := &sqlWatcher{o: Options{Spec: mysqlSpec("mysql")}, asker: &sqlAsker{}, current: "a", started: true}
	w.servers = []*sqlServer{{node: a}, {node: b}}
	r := &viewRecorder{}
	w.o.Publish = r.publish
	w.evaluate(now)
	require.Equal(t, "a", r.last().Primary)
	require.Equal(t, Other, r.last().roles()["b"])
}

// Replies of any size and shape cost a bounded amount of memory and end a poll as a failure.
func TestLyingServers(t *testing.T) {
	columns := make([]string, 3000)
	for i := range columns {
		columns[i] = strings.Repeat("c", 200) + fmt.Sprint(i)
	}
	row := make([]string, len(columns))
	for i := range row {
		row[i] = strings.Repeat("v", 500)
	}
	huge := startScriptedMySQL(t, uuidA, strings.Repeat(uuidA+":1,", 100_000))
	wide := startScriptedMySQL(t, uuidB, "")
	wide.change(func() {
		wide.replication = []map[string]string{{}}
		for i, name := range columns {
			wide.replication[0][name] = row[i]
		}
	})
	_, r := watchSQL(t, Options{Spec: mysqlSpec("mysql"), Servers: serversAt(huge.Addr(), wide.Addr())})
	nettest.Wait(t, 10*time.Second, "a conflict", func() bool { return strings.Contains(r.last().Problem, "GTIDs: longer than") })
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	require.Less(t, m.HeapAlloc, uint64(48<<20))
}

// A server that accepts a login and closes again is polled at a bounded pace.
func TestPaceIsBounded(t *testing.T) {
	a := startScriptedMySQL(t, uuidA, "")
	spec := mysqlSpec("mysql")
	_, r := watchSQL(t, Options{Spec: spec, Servers: serversAt(a.Addr())})
	r.waitPrimary(t, 20*time.Second, a.Addr())
	a.mu.Lock()
	a.logins = 0
	a.mu.Unlock()
	began := time.Now()
	for time.Since(began) < time.Second {
		a.Reset()
		time.Sleep(time.Millisecond)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	require.LessOrEqual(t, a.logins, 2*int(time.Since(began)/retryPause)+4)
}

func TestGaleraWatcher(t *testing.T) {
	t.Parallel()
	var hosts []*scriptedMySQL
	var addresses []string
	for i := range 3 {
		s := startScriptedMySQL(t, "", "")
		status, settings := galeraReply()
		for _, m := range []map[string]string{status, settings} {
			for name, value := range m {
				s.set(name, value)
			}
		}
		s.set("wsrep_local_index", fmt.Sprint(2-i))
		hosts, addresses = append(hosts, s), append(addresses, s.Addr())
	}
	spec := mysqlSpec("galera")
	w, r := watchSQL(t, Options{Spec: spec, Servers: serversAt(addresses...)})
	v := r.waitPrimary(t, 20*time.Second, addresses[2])
	require.Equal(t, "galera: primary is "+addresses[2]+", index 0 of 3", v.Source)
	hosts[2].set("wsrep_local_state", "2", "wsrep_local_state_comment", "Donor/Desynced")
	v = r.waitPrimary(t, 20*time.Second, addresses[1])
	require.Equal(t, "wsrep_local_state = 2 (Donor/Desynced)", v.Members[indexOf(v, addresses[2])].Reason)
	require.Equal(t, []string{addresses[2], addresses[1]}, r.primaries())

	// A new view arrives node by node: the node stays.
	hosts[0].set("wsrep_cluster_conf_id", "8")
	hosts[2].set("wsrep_local_state", "4", "wsrep_cluster_conf_id", "8")
	nettest.Wait(t, 5*time.Second, "the difference", func() bool { return r.last().Problem != "" })
	hosts[1].set("wsrep_cluster_conf_id", "8")
	r.waitPrimary(t, 20*time.Second, addresses[2])

	spec.Sticky = true
	_, sticky := watchSQL(t, Options{Spec: spec, Servers: serversAt(addresses...), Saved: Saved{Primary: addresses[0], At: epoch}})
	require.Equal(t, epoch, sticky.waitPrimary(t, 5*time.Second, addresses[0]).DecidedAt)
	require.Equal(t, []string{addresses[0]}, sticky.primaries())
	w.Close()
}

// A password that cannot be read is an error at the start.
func TestWatcherNeedsItsPassword(t *testing.T) {
	spec := mysqlSpec("mysql")
	spec.Password = conf.Secret{File: "/nonexistent/password"}
	_, err := Prepare(spec)
	require.ErrorContains(t, err, "password_file")
}
