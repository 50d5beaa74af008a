package conf

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const topologyFile = `[[listener]]
name = "l"
address = "127.0.0.1:1"
cluster = "c"
[cluster.c]
max_fails = 7
[cluster.c.topology]
type = "sentinel"
interval = "300ms"
sentinels = ["10.0.0.1:26379", "10.0.0.2:26379", "10.0.0.3:26379"]
master = "mymaster"
discover = true
password = "hunter2"
[cluster.c.topology.server]
weight = 3
`

func TestTopologyDefaults(t *testing.T) {
	c, err := Parse("weir.toml", []byte(topologyFile))
	require.NoError(t, err)
	own := c.Cluster("c")
	require.Len(t, own.Levels, 1, "discovered servers need a level")
	require.Equal(t, 1, own.Levels[0].MinUp)
	top := own.Topology
	require.Equal(t, "primary", top.Role)
	require.Equal(t, 300*time.Millisecond, top.Timeout)
	require.Equal(t, 2, top.Agreeing())
	require.Equal(t, 3, top.Server.Weight)
	require.Equal(t, 7, top.Server.MaxFails, "inherited from the cluster")
	require.Equal(t, "ready", top.Server.State)
}

func TestDiffOfTopologies(t *testing.T) {
	parse := func(text string) *Config {
		c, err := Parse("weir.toml", []byte(text))
		require.NoError(t, err)
		return c
	}
	a := parse(topologyFile)
	b := parse(`[[listener]]
name = "l"
address = "127.0.0.1:1"
cluster = "c"
[cluster.c]
max_fails = 7
[cluster.c.topology]
type = "sentinel"
interval = "300ms"
sentinels = ["10.0.0.1:26379", "10.0.0.2:26379"]
master = "mymaster"
quorum = 2
discover = true
password = "hunter3"
[cluster.c.topology.server]
weight = 4
`)
	none := parse("[[listener]]\nname = \"l\"\naddress = \"127.0.0.1:1\"\ncluster = \"c\"\n[cluster.c]\nmax_fails = 7\n[[cluster.c.level]]\n")
	require.True(t, Diff(a, a).Empty())
	text := Diff(a, b).String()
	require.Contains(t, text, "topology.sentinels 10.0.0.1:26379, 10.0.0.2:26379, 10.0.0.3:26379 → 10.0.0.1:26379, 10.0.0.2:26379")
	require.Contains(t, text, "topology.quorum 0 → 2")
	require.Contains(t, text, "topology.server.weight 3 → 4")
	require.Contains(t, text, "topology.password (secret) → another (secret)")
	require.NotContains(t, text, "hunter")
	require.Equal(t, "change cluster c: topology sentinel → none", Diff(a, none).String())
	require.Equal(t, "change cluster c: topology none → sentinel", Diff(none, a).String())
}

// A request with a topology follows the rules of files: keys that name files and variables of the host need allow_programs.
func TestTopologyInRequests(t *testing.T) {
	body := `{"levels": [{"servers": ["10.0.0.1:6379"]}], "topology": {"type": "sentinel", "sentinels": ["10.0.0.1:26379"], "master": "m", %s}}`
	with := func(text string) []byte { return []byte(strings.Replace(body, "%s", text, 1)) }
	c, err := ParseCluster("c", with(`"quorum": 1`), nil)
	require.NoError(t, err)
	require.Equal(t, 1, c.Topology.Quorum)
	for field, text := range map[string]string{
		"topology.password_file": `"password_file": "/etc/shadow"`,
		"topology.password_env":  `"password_env": "TOKEN"`,
		"topology.tls_key_file":  `"tls_key_file": "/etc/key.pem"`,
	} {
		require.Equal(t, field, UsesHost(with(text)))
	}
	_, err = ParseCluster("c", with(`"quorum": 2`), nil)
	require.ErrorContains(t, err, "topology.quorum: quorum is 2, but the topology has only 1 Sentinel")
	_, err = ParseCluster("c", []byte(`{"levels": [{"servers": ["unix:/run/redis.sock"]}]}`), &c)
	require.ErrorContains(t, err, "Sentinels do not know")
	_, _, err = ParseServer([]byte(`"unix:/run/redis.sock"`), &c)
	require.ErrorContains(t, err, "Sentinels do not know")
	kept, err := ParseCluster("c", []byte(`{"levels": [{"servers": ["10.0.0.2:6379"]}]}`), &c)
	require.NoError(t, err)
	require.Equal(t, c.Topology, kept.Topology, "levels alone keep the topology")
}
