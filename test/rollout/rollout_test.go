package rollout_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// TestRollOut applies revisions to a fleet with clients: a good one goes through, a refused one changes nothing, one that
// breaks a cluster ends at the first node without an error for clients of the others, and a rollback returns.
func TestRollOut(t *testing.T) {
	t.Parallel()
	f := startFleet(t, "10s")
	a, b, c := f.nodes[0], f.nodes[1], f.nodes[2]
	code, out := a.api.RunCommand("fleet", "rollback")
	require.Equal(t, 1, code, out)
	require.Contains(t, out, "there is no earlier revision")

	out = f.apply(a, config(f.host.Addr()), "--pause", "1s")
	require.Contains(t, out, "canary: a\n")
	require.Contains(t, out, "revision 1 in force on 3 nodes")
	loads := []*load{a.startLoad(), b.startLoad(), c.startLoad()}
	for _, l := range loads {
		nettest.Wait(t, patience, "clients to be served", func() bool { return l.served.Load() > 100 })
	}

	code, out = b.api.RunCommand("fleet", "apply", "-c", f.write(config(f.host.Addr())+"weigth = 1\n"))
	require.Equal(t, 1, code, out)
	require.Contains(t, out, "shared.toml:13:1: ")
	code, out = b.api.RunCommand("fleet", "apply", "-c", f.write(config(f.host.Addr())+"[[cluster.redis.check]]\ntype = \"redis\"\npassword = \"x\"\n"))
	require.Equal(t, 1, code, out)
	require.Contains(t, out, "a shared configuration has no secrets")
	code, out = b.api.RunCommand("fleet", "apply", "-c", f.write(config(apiAddress)))
	require.Equal(t, 1, code, out)
	require.Contains(t, out, "server redis/127.0.0.1:6380: 127.0.0.1:6380 is the API of weir itself")

	closed := nettest.ReserveOn(t, "10.91.0.1")
	begun := time.Now()
	code, out = c.api.RunCommand("fleet", "apply", "-c", f.write(config(closed)), "--pause", "60s")
	require.Equal(t, 1, code, out)
	require.Contains(t, out, "revision 3 rolled back: a: ")
	require.Less(t, time.Since(begun), weirtest.Bound(40*time.Second), "the canary is not watched to the end")
	f.waitRevision(1, a, b, c)
	require.Len(t, b.weir.Events("rollout_failed"), 2)
	require.Positive(t, loads[0].fails.Load(), "clients of the canary have seen the change")
	loads[1].requireNoErrors(t, "b")
	loads[2].requireNoErrors(t, "c")
	loads[0].end()

	second := nettest.StartAt(t, "10.91.0.1:0", nettest.Echo)
	f.apply(c, config(f.host.Addr(), second.Addr()), "--pause", "1s", "--canary", "0")
	f.waitRevision(4, a, b, c)
	out = b.api.MustRunCommand("fleet", "rollback")
	require.Contains(t, out, "revision 1 in force on 3 nodes")
	require.NotContains(t, a.api.MustRunCommand("status"), second.Addr())
	require.Contains(t, a.api.MustRunCommand("fleet", "status"), "shared configuration: revision 1; roll-out of revision 1 by user root: done")

	l := c.startLoad()
	c.weir.Upgrade()
	served := l.served.Load()
	nettest.Wait(t, patience, "clients to be served", func() bool { return l.served.Load() > served+10 })
	l.requireNoErrors(t, "c")
	f.waitRevision(1, c)

	out = b.api.MustRunCommand("fleet", "reset", "--config")
	require.Contains(t, out, "the file of each node in force on 3 nodes")
	f.waitRevision(0, a, b, c)
	require.Contains(t, c.api.MustRunCommand("fleet", "status"), "shared configuration: the file of each node")
	code, out = a.api.RunCommand("fleet", "rollback")
	require.Equal(t, 1, code, out)
	require.Contains(t, out, "there is no earlier revision")
	require.Regexp(t, `revision \d in force on 3 nodes`, f.apply(a, config(f.host.Addr()), "--pause", "1s", "--canary", "0"))
}

// TestDriverDies kills the node that drives a roll-out while a second operator is refused, and then etcd.
func TestDriverDies(t *testing.T) {
	t.Parallel()
	f := startFleet(t, "5s")
	a, b, c := f.nodes[0], f.nodes[1], f.nodes[2]
	f.apply(a, config(f.host.Addr()), "--pause", "0s")
	loads := []*load{a.startLoad(), b.startLoad(), c.startLoad()}
	second := nettest.StartAt(t, "10.91.0.1:0", nettest.Echo)
	changed := config(second.Addr())
	code, out := c.api.Do("POST /v1/fleet/config", `{"text": `+quoted(changed)+`, "pause": "10m"}`)
	require.Equal(t, 202, code, out)
	b.waitPhase(2, "canary")
	f.waitRevision(2, a)

	code, out = b.api.RunCommand("fleet", "apply", "-c", f.write(changed))
	require.Equal(t, 1, code, out)
	require.Contains(t, out, "the roll-out of revision 2 by ")
	require.Contains(t, out, "is in progress (canary)")

	loads[2].end()
	killed := time.Now()
	c.weir.Kill()
	b.waitPhase(2, "rolled_back")
	require.Less(t, time.Since(killed), weirtest.Bound(20*time.Second), "ttl + 15 s")
	f.waitRevision(1, a, b)
	require.Equal(t, "c", b.shared().Rollout.Node)
	c.start()
	f.waitRevision(1, c)
	loads[0].requireNoErrors(t, "a")
	loads[1].requireNoErrors(t, "b")

	// Without etcd, changes are refused and a start uses what the state file has.
	f.etcd.Members[0].Kill()
	nettest.Wait(t, patience, "the change to be refused", func() bool {
		code, out = a.api.RunCommand("fleet", "apply", "-c", f.write(changed))
		return strings.Contains(out, "the store of the fleet is not reachable")
	})
	require.Equal(t, 1, code, out)
	b.weir.Kill()
	b.weir = weirtest.Options{Namespace: b.ns, File: b.fileName()}.Start(t, b.file())
	b.weir.Baseline = nil
	l := b.startLoad()
	nettest.Wait(t, patience, "clients to be served", func() bool { return l.served.Load() > 10 })
	l.requireNoErrors(t, "b")
	require.Equal(t, 1, b.shared().Revision)
}

func quoted(text string) string {
	return `"` + strings.NewReplacer(`"`, `\"`, "\n", `\n`).Replace(text) + `"`
}
