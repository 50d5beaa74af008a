package fleet_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/status"
)

// TestRuntimeChangesHoldOnAllNodes checks servers and clusters that are added through the API, and that secrets stay.
func TestRuntimeChangesHoldOnAllNodes(t *testing.T) {
	t.Parallel()
	etcd := nettest.StartEtcd(t, 1)
	a, b := nettest.Start(t, nettest.Echo), nettest.Start(t, nettest.Echo)
	nodes := startFleet(t, etcd, 2, a.Addr())
	has := func(n *node, want string) func() bool {
		return func() bool { return strings.Contains(n.api.MustDo("GET /v1/clusters", ""), want) }
	}
	require.Contains(t, nodes[0].command(t, "server", "c/new", "add", b.Addr()), "written to the fleet")
	waitState(t, "new", "up", nodes...)
	nodes[0].command(t, "server", "c/new", "drain")
	waitState(t, "new", "drain", nodes...)
	nodes[1].api.MustDo("PUT /v1/clusters/extra", `{"levels": [{"servers": ["127.0.0.1:1"]}]}`)
	nettest.Wait(t, 60*time.Second, "the cluster on node 1", has(nodes[0], `"extra"`))
	nodes[0].api.MustDo("DELETE /v1/clusters/extra", "")
	nettest.Wait(t, 60*time.Second, "the cluster to leave node 2", func() bool { return !has(nodes[1], `"extra"`)() })

	require.Contains(t, nodes[1].command(t, "fleet", "status"), "user root")

	nodes[1].api.MustDo("PUT /v1/clusters/secret", `{"levels": [{"servers": ["127.0.0.1:1"]}], "checks": [{"type": "redis", "password": "the-password"}]}`)
	nodes[0].command(t, "server", "c/new", "remove")
	nettest.Wait(t, 60*time.Second, "the server to leave node 2", func() bool { return nodes[1].api.Server("new") == nil })
	require.False(t, has(nodes[0], `"secret"`)())
	require.NotContains(t, etcd.Ctl("get", "--prefix", "/"), "the-password")
	etcd.Ctl("put", "/weir/test/overrides/cluster/hostile", `{"v":1,"node":"x","at":"2026-01-01T00:00:00Z","value":{"created":true,"replacement":{"levels":[{"servers":["127.0.0.1:1"]}],"checks":[{"type":"exec","command":["/bin/true"]}]}}}`)
	nodes[0].waitFleet(t, "the record to be rejected", func(f status.Fleet) bool { return f.Ignored > 0 })
	require.False(t, has(nodes[0], `"hostile"`)())

	// The API of a node is no server that the fleet may add, also not by a name.
	_, port, _ := strings.Cut(nodes[0].apiAddress, ":")
	for i, at := range []string{nodes[0].apiAddress, "localhost:" + port} {
		etcd.Ctl("put", fmt.Sprintf("/weir/test/overrides/cluster/own%d", i), `{"v":1,"node":"x","at":"2026-01-01T00:00:00Z","value":{"created":true,"replacement":{"levels":[{"servers":["`+at+`"]}]}}}`)
		nodes[1].waitFleet(t, "the record", func(status.Fleet) bool { return has(nodes[1], fmt.Sprintf(`"own%d"`, i))() })
		nodes[0].waitFleet(t, "the record to be rejected", func(f status.Fleet) bool { return f.Ignored > i+1 })
		require.False(t, has(nodes[0], fmt.Sprintf(`"own%d"`, i))())
	}

	// A reset ends runtime changes and drains of nodes everywhere.
	nodes[0].api.MustDo("PUT /v1/clusters/extra", `{"levels": [{"servers": ["127.0.0.1:1"]}]}`)
	nodes[0].command(t, "fleet", "drain", "n2")
	ready := func() bool { code, _ := nodes[1].api.Do("GET /readyz", ""); return code == 200 }
	nettest.Wait(t, 60*time.Second, "the drain", func() bool { return !ready() && has(nodes[1], `"extra"`)() })
	nodes[0].command(t, "fleet", "reset")
	for _, n := range nodes {
		nettest.Wait(t, 60*time.Second, "the reset", func() bool { return ready() && !has(n, `"extra"`)() && !has(n, `"own0"`)() })
	}
}

// TestRuntimeChangesOfOneNode checks servers and clusters that are added with --local: they stay on their node, also after an
// upgrade, until the cluster follows the fleet again.
func TestRuntimeChangesOfOneNode(t *testing.T) {
	t.Parallel()
	etcd := nettest.StartEtcd(t, 1)
	a, b := nettest.Start(t, nettest.Echo), nettest.Start(t, nettest.Echo)
	nodes := startFleet(t, etcd, 2, a.Addr())
	nodes[0].command(t, "server", "c/new", "add", b.Addr())
	waitState(t, "new", "up", nodes...)
	require.Contains(t, nodes[0].command(t, "server", "c/mine", "add", b.Addr(), "--local"), "on this node only")
	code, text := nodes[0].api.RunCommand("server", "c/other", "add", b.Addr())
	require.Equal(t, 1, code)
	require.Contains(t, text, "weir fleet follow c")
	nodes[1].command(t, "server", "c/theirs", "add", b.Addr())
	waitState(t, "theirs", "up", nodes[1])
	nodes[0].waitFleet(t, "the record of the cluster", func(f status.Fleet) bool { return strings.Contains(fmt.Sprint(f.Overrides), "2 servers added") })
	require.Nil(t, nodes[0].api.Server("theirs"), "its own changes hold here")
	require.Nil(t, nodes[1].api.Server("mine"))
	nodes[0].Upgrade()
	require.NotNil(t, nodes[0].api.Server("mine"))
	nodes[0].command(t, "fleet", "follow", "c")
	require.Nil(t, nodes[0].api.Server("mine"))
	waitState(t, "theirs", "up", nodes...)
	code, text = nodes[0].api.RunCommand("fleet", "follow", "c")
	require.Equal(t, 1, code)
	require.Contains(t, text, "no runtime changes for this node only")
	nodes[0].api.MustDo("PUT /v1/clusters/own?local=true", `{"levels": [{"servers": ["127.0.0.1:1"]}]}`)
	nodes[0].command(t, "server", "c/theirs", "remove")
	nettest.Wait(t, 60*time.Second, "the server to leave node 2", func() bool { return nodes[1].api.Server("theirs") == nil })
	require.NotContains(t, nodes[1].api.MustDo("GET /v1/clusters", ""), `"own"`)
}
