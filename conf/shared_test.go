package conf

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
)

const shareConfig = "[fleet]\nendpoints = [\"http://10.0.0.1:2379\"]\nshare = [\"config\"]\n"

const nodeFile = shareConfig + `[runtime]
drain_timeout = "5s"
[admin]
listen = ["127.0.0.1:9280"]
[[listener]]
name = "old"
address = "127.0.0.1:1"
cluster = "old"
[cluster.old]
[[cluster.old.level]]
servers = ["127.0.0.1:2"]
`

const sharedText = `[[listener]]
name = "redis"
address = ":6379"
cluster = "redis"
[cluster.redis]
[[cluster.redis.level]]
servers = ["10.0.0.1:6379"]
`

// parseShared parses the file of a node with revision 7 of a shared configuration.
func parseShared(file, text string) (*Config, error) {
	return ParsePosted(Posted{Path: "weir.toml", Text: []byte(file), Shared: &Shared{Revision: 7, Text: []byte(text)}, Included: []SourceFile{}})
}

func TestSharedReplacesListenersAndClustersOfTheFile(t *testing.T) {
	c, err := parseShared(nodeFile, sharedText)
	require.NoError(t, err)
	require.Len(t, c.Listeners, 1)
	require.Equal(t, "redis", c.Listeners[0].Name)
	require.Nil(t, c.Cluster("old"))
	require.Equal(t, "5s", c.Runtime.DrainTimeout.String())
	require.Equal(t, 7, c.Shared.Revision)
	var warnings []string
	for _, w := range c.Warnings {
		warnings = append(warnings, w.String())
	}
	require.Equal(t, []string{
		"weir.toml:7:11: admin.listen[0]: 127.0.0.1:9280 has no token: every user of this host can read status, events and metrics there; " +
			"set read_token_file or token_file, or use a unix socket",
		"weir.toml:8:3: listener: not used: revision 7 of the shared configuration is in force",
		"weir.toml:12:2: cluster: not used: revision 7 of the shared configuration is in force",
	}, warnings)
	require.Equal(t, "revision 7, line 3, column 11: listener[0].address: in use", c.ListenerError("redis", "address", errors.New("in use")).String())
}

func TestSharedErrorsNameTheRevision(t *testing.T) {
	for name, test := range map[string]struct{ text, want string }{
		"key":           {sharedText + "weigth = 1\n", "revision 7, line 8, column 1: cluster.redis.level[0].weigth: unknown key weigth"},
		"syntax":        {"[[listener]\n", "revision 7, line 1, column 12"},
		"no listener":   {"", "revision 7, line 1, column 1: no listener defined"},
		"table of node": {sharedText + "[runtime]\nloops = 1\n", "revision 7, line 8, column 2: runtime: runtime belongs to the file of each node; a shared configuration has listeners and clusters"},
		"hook":          {sharedText + "[[event]]\nname = \"x\"\nurl = \"http://10.0.0.1\"\n", "event belongs to the file of each node"},
		"include":       {"include = [\"x.toml\"]\n" + sharedText, "revision 7, line 1, column 1: include: a shared configuration is one text and includes no files"},
		"password": {sharedText + "[[cluster.redis.check]]\ntype = \"redis\"\npassword = \"x\"\n",
			"revision 7, line 10, column 1: cluster.redis.check[0].password: a shared configuration has no secrets; use password_file or password_env"},
		"relative file": {sharedText + "[[cluster.redis.check]]\ntype = \"redis\"\npassword_file = \"x\"\n",
			"revision 7, line 10, column 17: cluster.redis.check[0].password_file: want an absolute path in a shared configuration, got \"x\""},
		"header": {sharedText + "[[cluster.redis.check]]\ntype = \"http\"\nheaders = { X-Auth-Token = \"x\" }\n",
			"revision 7, line 10, column 28: cluster.redis.check[0].headers.X-Auth-Token: a shared configuration has no secrets such as this header"},
		"header line": {sharedText + "[[cluster.redis.check]]\ntype = \"http\"\nheaders = [\"authorization: x\"]\n", "no secrets such as this header"},
		"url": {sharedText + "[cluster.redis.level.discover]\ntype = \"http\"\nurl = \"http://a:b@10.0.0.1/\"\n",
			"revision 7, line 10, column 7: cluster.redis.level[0].discover.url: a shared configuration has no secrets such as those of this URL"},
		"unix socket": {sharedText + "[[cluster.redis.level]]\nservers = [\"unix:/run/docker.sock\"]\n",
			"a shared configuration may have servers at unix sockets only with allow_programs = true in [admin] of the node"},
		"program": {sharedText + "[[cluster.redis.check]]\ntype = \"exec\"\ncommand = [\"/bin/true\"]\n",
			"revision 7, line 9, column 8: cluster.redis.check[0].type: a shared configuration may run programs only with allow_programs = true in [admin] of the node"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parseShared(shareConfig+"[admin]\nlisten = []\n", test.text)
			require.ErrorContains(t, err, test.want)
			require.NotContains(t, err.Error(), "a:b@")
		})
	}
}

func TestSharedTextThatIsNotStoredHasItsName(t *testing.T) {
	_, err := ParsePosted(Posted{Path: "node.toml", Included: []SourceFile{}, Shared: &Shared{Name: "weir.toml", Text: []byte("x = 1\n")}})
	require.ErrorContains(t, err, "weir.toml:1:1: x: unknown key x")
}

func TestSharedProgramsNeedPermission(t *testing.T) {
	text := sharedText + "[[cluster.redis.level]]\nservers = [\"unix:/run/redis.sock\"]\n[[cluster.redis.check]]\ntype = \"exec\"\ncommand = [\"/bin/true\"]\n"
	_, err := parseShared(shareConfig+"[admin]\nallow_programs = true\n", text)
	require.NoError(t, err)
}

// A shared configuration of another fleet, or of one that the file has left, is not used.
func TestSharedOfAnotherFleetIsNotUsed(t *testing.T) {
	for file, prefix := range map[string]string{nodeFile: "/other", nodeFile[len(shareConfig):]: "/weir"} {
		c, err := ParsePosted(Posted{Path: "weir.toml", Text: []byte(file), Shared: &Shared{Prefix: prefix, Revision: 7, Text: []byte(sharedText)}, Included: []SourceFile{}})
		require.NoError(t, err)
		require.Equal(t, "old", c.Listeners[0].Cluster)
		require.Nil(t, c.Shared)
		require.Len(t, c.Warnings, 1)
		require.Equal(t, "admin.listen[0]", c.Warnings[0].Path)
	}
}

func FuzzShared(f *testing.F) {
	f.Add(sharedText)
	f.Add("include = [\"x\"]\n[runtime]\n")
	f.Add(sharedText + "[[cluster.redis.check]]\ntype = \"redis\"\npassword = \"x\"\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parseShared(nodeFile, text)
		if err != nil {
			return
		}
		require.NotEmpty(t, c.Listeners)
		require.Empty(t, c.Hooks)
		for i := range c.Clusters {
			for _, check := range c.Clusters[i].Checks {
				require.Empty(t, check.Password.Value)
			}
		}
	})
}
