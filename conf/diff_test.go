package conf

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// mustParse parses a valid text.
func mustParse(t testing.TB, text string) *Config {
	t.Helper()
	c, err := Parse("weir.toml", []byte(text))
	require.NoError(t, err)
	return c
}

const diffConfig = `
[runtime]
loops = 2
[[listener]]
name = "a"
address = ["127.0.0.1:80", "127.0.0.1:81"]
cluster = "web"
[cluster.web]
[[cluster.web.level]]
name = "one"
servers = ["10.0.0.1:80", "10.0.0.2:80 weight=5", "10.0.0.3:80"]
[[cluster.web.level]]
servers = ["10.0.1.1:80"]
[[cluster.web.check]]
type = "tcp"
[cluster.other]
[[cluster.other.level]]
`

func TestDiff(t *testing.T) {
	swap := func(pairs ...string) string { return strings.NewReplacer(pairs...).Replace(diffConfig) }
	for name, c := range map[string]struct {
		wanted string
		plan   string
	}{
		"nothing":               {diffConfig, "no changes"},
		"comments and spelling": {"# a comment\n" + swap(`"10.0.0.2:80 weight=5"`, `{ address = "10.0.0.2:80", weight = 5 }`), "no changes"},
		"loops are fixed": {
			swap("loops = 2", "loops = 3\nmax_sessions = 9"),
			"change runtime: loops 2 → 3 (refused: the event loops are fixed for the life of the process; upgrade or restart it)\nchange runtime: max_sessions 0 → 9",
		},
		"weight":        {swap("weight=5", "weight=6"), "change server web/10.0.0.2:80: weight 5 → 6"},
		"source":        {swap("weight=5", "weight=5 source=10.0.0.9"), "change server web/10.0.0.2:80: source none → 10.0.0.9"},
		"sources":       {swap("weight=5", "weight=5 source=10.0.0.9,10.0.1.0/30,::1"), "change server web/10.0.0.2:80: source none → 10.0.0.9,10.0.1.0/30,::1"},
		"source client": {swap("[cluster.other]", "[cluster.other]\nsource = \"client\""), "change cluster other: source none → client"},
		"balance":       {swap("[cluster.web]", "[cluster.web]\nbalance = \"maglev\"\nconnect_timeout = \"1m\""), "change cluster web: balance wrr → maglev, connect_timeout 2s → 1m"},
		"timeout alone": {swap("[cluster.web]", "[cluster.web]\nconnect_timeout = \"1m\""), "change cluster web: connect_timeout 2s → 1m"},
		"inherited value": {
			swap("[cluster.other]", "[cluster.other]\nmax_fails = 4"),
			"change cluster other: max_fails 3 → 4",
		},
		"a server moves": {
			swap(`, "10.0.0.3:80"`, ``, `"10.0.1.1:80"`, `"10.0.1.1:80", "10.0.0.3:80"`),
			"change server web/10.0.0.3:80: level one → #2",
		},
		"a server moves and changes weight": {
			swap(`, "10.0.0.3:80"`, ``, `"10.0.1.1:80"`, `"10.0.1.1:80", "10.0.0.3:80 weight=7"`),
			"change server web/10.0.0.3:80: level one → #2, weight 1 → 7",
		},
		"a server in two levels": {
			swap(`"10.0.1.1:80"`, `"10.0.1.1:80", "10.0.0.1:80 weight=7"`),
			"change server web/10.0.0.1:80: level one → one, #2",
		},
		"a server gets a name": {
			swap(`"10.0.1.1:80"`, `"10.0.1.1:80 name=x"`),
			"add server web/x: 10.0.1.1:80, level #2, weight 1\nremove server web/10.0.1.1:80: 10.0.1.1:80, level #2, weight 1",
		},
		"order": {
			swap(`"10.0.0.1:80", "10.0.0.2:80 weight=5"`, `"10.0.0.2:80 weight=5", "10.0.0.1:80"`),
			"change cluster web: order of servers in level one 10.0.0.1:80, 10.0.0.2:80, 10.0.0.3:80 → 10.0.0.2:80, 10.0.0.1:80, 10.0.0.3:80",
		},
		"level options": {swap(`name = "one"`, "name = \"one\"\nmin_up = 2"), "change cluster web: min_up in level one 1 → 2"},
		"check": {
			swap(`type = "tcp"`, "type = \"tcp\"\nsend = \"x\"\nport = 9"),
			`change check web/tcp: port 0 → 9, steps none → (secret)`,
		},
		"check id": {
			swap(`type = "tcp"`, "type = \"tcp\"\nid = \"y\""),
			"add check web/y: tcp every 2s\nremove check web/tcp: tcp every 2s",
		},
		"listener addresses": {
			swap(`["127.0.0.1:80", "127.0.0.1:81"]`, `["127.0.0.1:81-83"]`),
			"add listener a (tcp 127.0.0.1:82-83): to cluster web\nremove listener a (tcp 127.0.0.1:80)",
		},
		"listener is renamed and points elsewhere": {
			swap(`name = "a"`, `name = "b"`, `cluster = "web"`, `cluster = "other"`),
			"change listener b (tcp 127.0.0.1:80-81): name a → b, cluster web → other",
		},
		"listener levels": {
			swap(`cluster = "web"`, "cluster = \"web\"\nlevels = [2, \"one\"]"),
			"change listener a (tcp 127.0.0.1:80-81): levels all → #2, one (#1)",
		},
		"a cluster comes and one goes": {
			strings.ReplaceAll(diffConfig, "other", "new"),
			"add cluster new: wrr, 0 servers in 1 level\nremove cluster other: wrr, 0 servers in 1 level",
		},
	} {
		t.Run(name, func(t *testing.T) {
			running, wanted := mustParse(t, diffConfig), mustParse(t, c.wanted)
			plan := Diff(running, wanted)
			require.Equal(t, c.plan, plan.String())
		})
	}
}

func TestDiffFromAndToNothing(t *testing.T) {
	c := mustParse(t, diffConfig)
	require.Equal(t, "add cluster web: wrr, 4 servers in 2 levels\nadd cluster other: wrr, 0 servers in 1 level\nadd listener a (tcp 127.0.0.1:80-81): to cluster web", Diff(nil, c).String())
	require.Equal(t, "remove listener a (tcp 127.0.0.1:80-81)\nremove cluster web: wrr, 4 servers in 2 levels\nremove cluster other: wrr, 0 servers in 1 level", Diff(c, nil).String())
	require.True(t, Diff(nil, nil).Empty())
}

func TestPlanRefusedAndBecomes(t *testing.T) {
	running := mustParse(t, diffConfig)
	wanted := mustParse(t, strings.NewReplacer("loops = 2", "loops = 4", "weight=5", "weight=2").Replace(diffConfig))
	plan := Diff(running, wanted)
	require.Len(t, plan.Steps, 2)
	require.Equal(t, plan.Steps[:1], plan.Refused())
	require.Equal(t, ObjectServer, plan.Steps[1].Object)
	require.True(t, plan.Steps[1].Becomes("weight", "2"))
	require.False(t, plan.Steps[1].Becomes("weight", "5"))
	require.False(t, plan.Steps[1].Becomes("source", "2"))
}
