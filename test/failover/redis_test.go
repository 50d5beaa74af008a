package failover_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// grace is how long after the switch of the quorum a session or a write may still begin at the old primary.
const grace = 100 * time.Millisecond

// holdTimeout is the hold_timeout of topologyRecipe.
const holdTimeout = 30 * time.Second

// downAfter is the time after which a Sentinel considers a server down.
const downAfter = time.Second

// deployment is a Redis deployment and a weir in front of it.
type deployment struct {
	t *testing.T
	*nettest.Replication
	links []*link // between weir and each Sentinel
	seen  *observer
	weir  *weirtest.Weir
	api   weirtest.API
	addr  string
}

// topologyRecipe makes the Sentinels decide, and roleRecipe what the servers say of themselves.
const (
	topologyRecipe = "on_down = \"close\"\nconnect_timeout = \"500ms\"\nhold_timeout = \"30s\"\n" +
		"[cluster.c.topology]\ntype = \"sentinel\"\nmaster = \"" + nettest.MasterName + "\"\nsentinels = [%s]\n"
	topologyCheck = "[[cluster.c.check]]\ntype = \"redis\"\ninterval = \"1s\"\ntimeout = \"500ms\"\nfall = 2\nallow_stale = true\n"
	roleRecipe    = "protected = false\non_down = \"close\"\nconnect_timeout = \"500ms\"\n"
	roleCheck     = "[[cluster.c.check]]\ntype = \"redis\"\nrole = \"primary\"\ninterval = \"1s\"\ntimeout = \"500ms\"\nrise = 1\nfall = 2\n"
)

// deploy starts a Redis deployment, and weir in front of it with or without a topology.
func deploy(t *testing.T, topology bool) *deployment {
	t.Helper()
	d := &deployment{t: t, Replication: nettest.StartReplication(t, nettest.SentinelOptions{DownAfter: downAfter})}
	var servers, sentinels []string
	for i, s := range d.Servers {
		servers = append(servers, fmt.Sprintf("%s name=%c", s.Addr(), 'A'+i))
	}
	for _, s := range d.Sentinels {
		l := startLink(t, s.Addr())
		d.links = append(d.links, l)
		sentinels = append(sentinels, fmt.Sprintf("%q", l.addr))
	}
	d.seen = observe(t, d.SentinelAddrs())
	config := weirtest.Config{Levels: weirtest.OneLevel(servers...), Cluster: roleRecipe, Checks: roleCheck}
	if topology {
		config.Cluster, config.Checks = fmt.Sprintf(topologyRecipe, strings.Join(sentinels, ", ")), topologyCheck
	}
	d.weir, d.addr, d.api = weirtest.ServeAPI(t, config)
	if topology {
		keepConnections(d.weir, len(sentinels))
	}
	return d
}

// keepConnections takes account of the connection and the subscription that weir keeps to each Sentinel.
func keepConnections(w *weirtest.Weir, sentinels int) { w.Baseline["socket"] += 2 * sentinels }

// figures are the results of failovers.
type figures struct {
	name       string
	runs       int
	switches   int             // of the quorum
	writes     int             // acknowledged
	lostBefore int             // acknowledged writes that the new primary lacks, begun before the switch of the quorum
	lostAfter  int             // and those begun after it
	late       int             // begun more than grace after the switch and acknowledged by another server than the primary
	wrong      int             // sessions begun more than grace after the switch, or before it, at another server than the primary
	left       int             // sessions open at the old primary a second after the switch
	failed     int             // new connections without an answer that began after the fault
	first      []time.Duration // from the switch to the first new session at the new primary
	gap        []time.Duration // without an acknowledged write
}

// fault is what happens to the primary, and undo what follows later.
type fault struct {
	name string
	do   func(d *deployment, primary *nettest.ReplicaServer)
	undo func(d *deployment, primary *nettest.ReplicaServer)
	wait time.Duration // from do to undo, which follows the switch at the earliest
	dead bool          // no server accepts until the switch
}

func killAndRestart(after time.Duration) fault {
	return fault{
		name: fmt.Sprintf("kill -9, restart after %v", after), wait: after, dead: true,
		do:   func(_ *deployment, p *nettest.ReplicaServer) { p.Kill() },
		undo: func(_ *deployment, p *nettest.ReplicaServer) { p.Up() },
	}
}

func planned() fault {
	return fault{
		name: "planned SENTINEL FAILOVER",
		do:   func(d *deployment, _ *nettest.ReplicaServer) { d.Failover() },
		undo: func(*deployment, *nettest.ReplicaServer) {},
	}
}

func stop(d time.Duration) fault {
	return fault{
		name: fmt.Sprintf("SIGSTOP for %v", d), wait: d,
		do:   func(_ *deployment, p *nettest.ReplicaServer) { p.Pause() },
		undo: func(_ *deployment, p *nettest.ReplicaServer) { p.Resume() },
	}
}

// cutOne is a kill while weir does not reach one Sentinel.
func cutOne() fault {
	f := killAndRestart(time.Second)
	kill, restart := f.do, f.undo
	f.name = "one Sentinel cut off, kill -9, restart after 1s"
	f.do = func(d *deployment, p *nettest.ReplicaServer) {
		d.links[0].setCut(true)
		d.seen.setCut(0, true)
		kill(d, p)
	}
	f.undo = func(d *deployment, p *nettest.ReplicaServer) {
		restart(d, p)
		d.links[0].setCut(false)
		d.seen.setCut(0, false)
	}
	return f
}

// run lets clients write, applies a fault, watches for some time after the switch, and adds to the figures.
func (d *deployment) run(f fault, after time.Duration, x *figures) {
	t := d.t
	t.Helper()
	d.WaitReady(2 * time.Minute)
	old := d.Primary()
	c := startClients(d.addr, 6, 2)
	nettest.Wait(t, 20*time.Second, "writes", func() bool { return c.acknowledged() > 300 })
	began := time.Now()
	f.do(d, old)
	done := time.Now()
	sw := d.seen.waitSwitch(t, began)
	// A server that returned before would remain the primary, with the data that it had: none without persistence.
	time.Sleep(time.Until(began.Add(f.wait)))
	f.undo(d, old)
	undone := time.Now()
	nettest.Wait(t, 30*time.Second, "a session at the new primary", func() bool { _, ok := c.firstOn(sw.primary, began); return ok })
	time.Sleep(time.Until(undone.Add(after)))
	c.close()
	last := d.seen.primary() // a busy machine may cause another failover

	x.runs++
	x.switches += len(d.seen.since(began))
	x.writes += len(c.writes)
	lost := c.missing(t, last)
	for _, w := range lost {
		if w.began.Before(sw.at) {
			x.lostBefore++
		} else {
			x.lostAfter++
		}
	}
	slices.SortFunc(c.writes, func(a, b write) int { return a.acked.Compare(b.acked) })
	acked, gap := began, time.Duration(0)
	for _, w := range c.writes {
		if !d.seen.named(w.server, w.began.Add(-grace), w.began.Add(grace)) {
			x.late++
		}
		if w.acked.After(began) {
			gap, acked = max(gap, w.acked.Sub(acked)), w.acked
		}
	}
	x.gap = append(x.gap, gap)
	for _, s := range c.sessions {
		if !d.seen.named(s.server, s.began.Add(-grace), s.identified.Add(grace)) {
			x.wrong++
		}
		// From a second after a switch on, until the session ended.
		if at, ok := d.seen.replaced(s.server, s.began); ok && s.ended.After(at.Add(time.Second)) && !d.seen.named(s.server, at.Add(time.Millisecond), s.ended) {
			x.left++
		}
	}
	first, _ := c.firstOn(sw.primary, began)
	x.first = append(x.first, max(0, first.Sub(sw.at)))
	t.Logf("run: %s: switch %v after the fault, first session at the new primary %v after it; %v without a write; %d of %d writes lost", x.name,
		sw.at.Sub(began).Round(time.Millisecond), first.Sub(sw.at).Round(100*time.Microsecond), gap.Round(time.Millisecond), len(lost), len(c.writes))
	for _, a := range c.attempts {
		// While the old primary lives, or its kernel accepts for it, a connection may be at it in the moment of the switch.
		excepted := !f.dead && a.began.Before(sw.at.Add(grace)) && a.began.Add(a.took).After(sw.at.Add(-grace))
		tooLong := a.began.Add(holdTimeout - time.Second).Before(sw.at) // the Sentinels of a busy machine
		if a.err != nil && a.began.After(done) && !excepted && !tooLong {
			x.failed++
			if x.failed <= 5 {
				t.Logf("run: connection %v after the fault failed after %v: %v", a.began.Sub(began), a.took, a.err)
			}
		}
	}
}

// log prints one row of the table.
func (x *figures) log(t *testing.T) {
	p99 := func(d []time.Duration) time.Duration {
		if len(d) == 0 {
			return 0
		}
		return weirtest.Percentile(slices.Clone(d), 99).Round(time.Millisecond)
	}
	t.Logf("| %s | %d | %d | %d | %d | %d | %d | %d | %d | %v | %v |", x.name, x.runs, x.writes, x.lostBefore, x.lostAfter, x.late, x.wrong, x.left,
		x.failed, p99(x.first), p99(x.gap))
}

const header = "| failover | runs | writes | lost, begun before the switch | lost, begun after | late | wrong server | left | failed connections | first session p99 | gap p99 |"

// verify checks what a topology promises.
func (x *figures) verify(t *testing.T) {
	require.Zero(t, x.late, "writes begun more than %v after the quorum's switch and acknowledged by the old primary", grace)
	require.Zero(t, x.wrong, "sessions at a server that the quorum does not name")
	require.Zero(t, x.left, "sessions left on the old primary")
	require.Zero(t, x.failed, "new connections that failed")
	require.LessOrEqual(t, weirtest.Percentile(slices.Clone(x.first), 99), weirtest.Bound(grace)+nettest.StalledSince(time.Now().Add(-time.Minute)))
}

// A planned failover and the death of the primary with its early return: what the quorum names is what clients reach. A
// campaign has more failovers, and measures the recipe that asks the servers for their role too, without demands.
func TestRedisSentinelFailover(t *testing.T) {
	t.Parallel()
	faults, after, runs := []fault{planned(), killAndRestart(time.Second)}, 1500*time.Millisecond, weirtest.Scaled(1)
	campaign := runs > 1
	if campaign {
		faults = append(faults, killAndRestart(5*time.Second), killAndRestart(8*time.Second), stop(9*time.Second), cutOne())
		after = 12 * time.Second // until the old primary, restarted as a primary, has been demoted
	}
	d := deploy(t, true)
	t.Log(header)
	rows := d.runAll("topology: ", faults, runs, after)
	if campaign {
		deploy(t, false).runAll("role check: ", faults, runs, after)
	}
	for _, x := range rows {
		x.verify(t)
	}
	n := 1
	for _, x := range rows {
		n += x.switches
	}
	d.weir.WaitEvents("primary_change", n)
	require.Len(t, d.weir.Events("primary_change"), n)
	require.Equal(t, "0", d.api.Metric(`weir_sessions_on_non_primary{cluster="c"}`))
}

// runAll runs each fault several times and prints the table.
func (d *deployment) runAll(name string, faults []fault, runs int, after time.Duration) (rows []*figures) {
	for _, f := range faults {
		x := &figures{name: name + f.name}
		for range runs {
			d.run(f, after, x)
		}
		x.log(d.t)
		rows = append(rows, x)
	}
	return rows
}
