package fleet_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/status"
	"weir/internal/weirtest"
)

// checksPassed returns how many checks of the node have passed, and failed.
func (n *node) checksPassed() (passed, failed int) {
	for _, m := range regexp.MustCompile(`(?m)^weir_check_results_total\{.*result="(\w+)"[^}]*\} (\d+)$`).FindAllStringSubmatch(n.api.MustDo("GET /metrics", ""), -1) {
		count, _ := strconv.Atoi(m[2])
		if m[1] == "pass" {
			passed += count
		} else {
			failed += count
		}
	}
	return passed, failed
}

// waitProblem waits until the operator sees a problem of the node.
func (n *node) waitProblem(t *testing.T, text string) {
	t.Helper()
	nettest.Wait(t, 60*time.Second, "the problem "+text, func() bool {
		var doc status.Document
		require.NoError(t, json.Unmarshal([]byte(n.api.MustDo("GET /v1/status", "")), &doc))
		return strings.Contains(fmt.Sprint(doc.Problems), text)
	})
}

// TestStoreFaultsHaveNoEffect freezes etcd, fills it and wipes it, while clients use three nodes that share overrides, limits
// and verdicts. No session, connection or check fails, and the operator sees each fault. make fleet-campaign freezes it for five
// minutes.
func TestStoreFaultsHaveNoEffect(t *testing.T) {
	t.Parallel()
	etcd := nettest.StartEtcd(t, 3, "--quota-backend-bytes=1000000")
	a, b := nettest.Start(t, nettest.Echo), nettest.Start(t, nettest.Echo)
	nodes := fleetOf(t, etcd, 3, a.Addr(), b.Addr())
	for _, n := range nodes {
		n.config = strings.NewReplacer("ttl = \"5s\"", "ttl = \"2s\"\nshare = [\"overrides\", \"limits\"]\n[cluster.c.fleet]\nverdict = \"quorum\"\n"+
			"[[cluster.c.check]]\ntype = \"tcp\"\ninterval = \"200ms\"\n", "[cluster.c]", "[cluster.c]\nmax_sessions = 3000").Replace(n.config)
		n.start(t)
	}
	var load []*weirtest.Load
	for _, n := range nodes {
		n.waitFleet(t, "all nodes with parts", func(f status.Fleet) bool {
			return len(f.Members) == 3 && len(f.Limits) == 2 && f.Limits[0].Part > 100 && f.Limits[1].Part > 100
		})
		load = append(load, weirtest.StartLoad(t, n.listen, 1, 10))
	}
	// during checks what clients and checks see during a fault.
	during := func(fault, problem string, lasts time.Duration) {
		passed, short := make([]int, 3), make([]int64, 3)
		for i, n := range nodes {
			n.waitProblem(t, problem)
			passed[i], _ = n.checksPassed()
			short[i] = load[i].Short.Load()
		}
		began := time.Now()
		for i, n := range nodes {
			nettest.Wait(t, 60*time.Second+lasts, "checks and clients", func() bool {
				now, failed := n.checksPassed()
				require.Zero(t, failed)
				return time.Since(began) >= lasts && now >= passed[i]+20 && load[i].Short.Load() >= short[i]+50
			})
			now, _ := n.checksPassed()
			weirtest.RecordFigures(t, fault+"_checks", now-passed[i], fault+"_connections", load[i].Short.Load()-short[i], fault+"_lasted", time.Since(began))
		}
	}
	frozen := time.Second
	if weirtest.Campaign() {
		frozen = 5 * time.Minute
	}
	for _, m := range etcd.Members {
		m.Freeze()
	}
	during("frozen", "fleet not connected", frozen)
	require.Contains(t, nodes[0].command(t, "server", "c/"+a.Addr(), "weight", "2"), "pending")
	for _, m := range etcd.Members {
		m.Thaw()
	}
	waitState(t, a.Addr(), "up 2", nodes...)

	etcd.Fill()
	require.Contains(t, nodes[1].command(t, "server", "c/"+a.Addr(), "weight", "3"), "pending")
	during("full", "fleet", 0)
	etcd.Empty()
	waitState(t, a.Addr(), "up 3", nodes...)

	for _, m := range etcd.Members {
		m.Kill()
	}
	during("gone", "fleet not connected", 0)
	etcd.Wipe()
	for _, n := range nodes {
		n.waitFleet(t, "the wiped store to be filled", func(f status.Fleet) bool { return f.Connected && len(f.Members) == 3 && f.Pending == 0 })
	}
	nettest.Wait(t, 60*time.Second, "the override in the store", func() bool {
		return strings.Contains(etcd.Ctl("get", "--prefix", "/weir/test/overrides"), `"weight":3`)
	})
	for i, n := range nodes {
		load[i].Stop()
		require.Empty(t, n.Events("server_down", "server_state", "cluster_empty", "limit_lost"))
		require.Equal(t, "up 3", n.state(t, a.Addr()))
	}
}
