package status

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// doc returns a document with one listener and one cluster c. Its levels 1, 2 … have servers a, b … with the given states.
func doc(inUse string, levels ...[]string) *Document {
	d := &Document{MaxSessions: 100, Listeners: []Listener{{Name: "l", Cluster: "c"}}, Clusters: []Cluster{{Name: "c", Level: inUse}}}
	letter := 'a'
	for i, states := range levels {
		l := Level{Name: fmt.Sprint(i + 1), MinUp: 1}
		l.InUse = l.Name == inUse
		for _, state := range states {
			l.Servers = append(l.Servers, Server{Name: string(letter), State: state, Reason: "because of " + string(letter), Since: time.Unix(int64(letter), 0)})
			if state == "up" {
				l.Eligible++
			}
			letter++
		}
		d.Clusters[0].Levels = append(d.Clusters[0].Levels, l)
	}
	return d
}

// impaired marks the first level of a document.
func impaired(d *Document) { d.Clusters[0].Levels[0].Impaired = true }

func TestProblems(t *testing.T) {
	at := time.Unix(5, 0)
	for name, test := range map[string]struct {
		doc    *Document
		change func(*Document)
		want   []string
	}{
		"none":                             {doc: doc("1", []string{"up", "up"}, []string{"up"})},
		"one of many":                      {doc: doc("1", []string{"up", "down"}), want: []string{"warning c: b: down (because of b)"}},
		"number first when there are many": {doc: doc("1", []string{"up", "down", "down", "down", "down", "down"}), want: []string{"warning c: 5 of 6 servers down: b, c, d and 2 more (because of b)"}},
		"a fallback": {doc: doc("2", []string{"down"}, []string{"up"}), change: impaired, want: []string{
			"warning c: level 2 in use instead of 1", "warning c: a: down (because of a)"}},
		"an outage first": {doc: doc("", []string{"maint", "down"}), want: []string{
			"critical c: no eligible server (because of b)", "note c: a: maint (because of a)"}},
		"an outage without a listener": {doc: doc("", []string{"down"}), change: func(d *Document) { d.Listeners = nil }, want: []string{"warning c: no eligible server (because of a)"}},
		"protection":                   {doc: doc("1", []string{"unstable"}), change: func(d *Document) { d.Clusters[0].Empty = true; d.Clusters[0].Levels[0].Eligible = 1 }, want: []string{"critical c: no healthy server: protection keeps the last one in use (because of a)"}},
		"an empty first level":         {doc: doc("2", nil, []string{"up"})},
		"no servers":                   {doc: doc("", nil), want: []string{"critical c: no servers"}},
		"held":                         {doc: doc("2", []string{"up"}, []string{"up"}), change: func(d *Document) { d.Clusters[0].Held = true }, want: []string{"warning c: level 2 stays in use: failback is manual"}},
		"below min_up":                 {doc: doc("1", []string{"up", "drain"}), change: func(d *Document) { d.Clusters[0].Levels[0].MinUp = 2; impaired(d) }, want: []string{"warning c: level 1 in use below min_up: 1 of 2 servers eligible", "note c: b: drain (because of b)"}},
		"below min_up by an operator":  {doc: doc("1", []string{"up", "drain"}), change: func(d *Document) { d.Clusters[0].Levels[0].MinUp = 2 }, want: []string{"note c: b: drain (because of b)"}},
		"a standby server":             {doc: doc("1", []string{"standby", "up"})},
		"a level of standby servers":   {doc: doc("2", []string{"standby"}, []string{"up"})},
		"only standby servers":         {doc: doc("", []string{"standby", "standby"}), want: []string{"critical c: no eligible server"}},
		"a server without room":        {doc: doc("1", []string{"full", "up"}), want: []string{"warning c: a: full (because of a)"}},
		"a name that fails": {doc: doc("1", []string{"up"}), change: func(d *Document) {
			d.FailedLookups = []FailedLookup{{Name: "db.test", Reason: "no such host", Since: at}}
		}, want: []string{"warning db.test: not resolved, the last addresses stay in use (no such host)"}},
		"many names that fail": {doc: doc("1", []string{"up"}), change: func(d *Document) {
			for _, name := range []string{"a", "b", "c", "d", "e"} {
				d.FailedLookups = append(d.FailedLookups, FailedLookup{Name: name, Reason: "timeout", Since: at})
			}
		}, want: []string{"warning 5 host names: a, b, c and 2 more: not resolved, the last addresses stay in use (timeout)"}},
		"a check that cannot run": {doc: doc("1", []string{"up", "up"}), change: func(d *Document) {
			d.Clusters[0].Levels[0].Servers[1].NotChecked = "tcp: not checked since noon"
		}, want: []string{"warning c: b: not checked (tcp: not checked since noon)"}},
		"a queue":         {doc: doc("1", []string{"up"}), change: func(d *Document) { d.Clusters[0].Queue = 7 }, want: []string{"warning c: 7 sessions in the queue"}},
		"stopping":        {doc: doc("1", []string{"up"}), change: func(d *Document) { d.Stopping = true }, want: []string{"critical stopping: new clients are rejected"}},
		"full":            {doc: doc("1", []string{"up"}), change: func(d *Document) { d.Sessions = 100 }, want: []string{"critical 100 of 100 sessions in use: new clients are rejected"}},
		"nearly full":     {doc: doc("1", []string{"up"}), change: func(d *Document) { d.Sessions = 95 }, want: []string{"warning 95 of 100 sessions in use"}},
		"a failed reload": {doc: doc("1", []string{"up"}), change: func(d *Document) { d.Config.LastError, d.Config.LastErrorAt = "f:1: no", &at }, want: []string{"warning last reload failed: the previous configuration is in force (f:1: no)"}},
		"a failing hook": {doc: doc("1", []string{"up"}), change: func(d *Document) {
			d.Hooks = []Hook{{Name: "pager", Failing: true, Dropped: 3, LastError: "exit status 1"}, {Name: "pass", Dropped: 2, LastError: "before"}}
		}, want: []string{"warning event hook pager fails: 3 events dropped (exit status 1)"}},
		"a stale topology": {doc: doc("1", []string{"up", "standby"}), change: func(d *Document) {
			d.Clusters[0].Topology = &Topology{Role: "primary", Primary: "a", DecidedAt: &at, StaleSince: &at, Problem: "1 of 3 Sentinels answer"}
		}, want: []string{"warning c: topology stale: the last decision stays in force (1 of 3 Sentinels answer)"}},
		"no decision yet": {doc: doc("", []string{"standby", "standby"}), change: func(d *Document) { d.Clusters[0].Topology = &Topology{Role: "primary"} },
			want: []string{"critical c: no primary: no decision yet"}},
		"two primaries": {doc: doc("", []string{"standby", "down"}), change: func(d *Document) {
			d.Clusters[0].Topology = &Topology{Role: "primary", DecidedAt: &at, Source: "sentinel: conflict", Problem: "conflict"}
		}, want: []string{"critical c: no primary (conflict)", "warning c: b: down (because of b)"}},
		"a primary outside of the cluster": {doc: doc("", []string{"standby"}), change: func(d *Document) {
			d.Clusters[0].Topology = &Topology{Role: "primary", Primary: "10.0.0.9:1", DecidedAt: &at, Source: "sentinel: primary is 10.0.0.9:1",
				Members: []Member{{Address: "10.0.0.9:1", Role: "primary", Problem: "not a server of the cluster"}}}
		}, want: []string{"critical c: no primary: 10.0.0.9:1 is not a server of the cluster (sentinel: primary is 10.0.0.9:1)",
			"warning c: 10.0.0.9:1: listed by the topology and cannot be used (not a server of the cluster)"}},
		"members that cannot be reached": {doc: doc("1", []string{"up", "standby"}), change: func(d *Document) {
			d.Clusters[0].Topology = &Topology{Role: "primary", Primary: "a", DecidedAt: &at, Members: []Member{{Server: "a", Role: "primary"},
				{Server: "b", Role: "replica", Problem: "weir cannot reach it: refused"}, {Address: "x:1", Role: "other", Problem: "not a server of the cluster"}}}
		}, want: []string{"warning c: b: listed by the topology and cannot be used (weir cannot reach it: refused)"}},
		"one server in several levels": {doc: doc("1", []string{"up", "down"}, []string{"up"}), change: func(d *Document) { d.Clusters[0].Levels[1].Servers[0] = d.Clusters[0].Levels[0].Servers[1] }, want: []string{"warning c: b: down (because of b)"}},
	} {
		t.Run(name, func(t *testing.T) {
			if test.change != nil {
				test.change(test.doc)
			}
			test.doc.FindProblems()
			require.NotNil(t, test.doc.Problems, "an array in JSON")
			var got []string
			for _, x := range test.doc.Problems {
				text := x.Severity + " "
				if x.Cluster != "" {
					text += x.Cluster + ": "
				}
				text += x.Text
				if x.Reason != "" {
					text += " (" + x.Reason + ")"
				}
				got = append(got, text)
			}
			require.Equal(t, test.want, got)
		})
	}
	d := doc("1", []string{"up", "down", "down"})
	d.Clusters[0].Levels[0].Servers[2].Since = at
	d.FindProblems()
	require.Equal(t, at, *d.Problems[0].Since, "the earliest")
	d = doc("", []string{"maint", "down", "down"})
	d.FindProblems()
	require.Equal(t, time.Unix('c', 0), *d.Problems[0].Since, "an outage begins with the last loss")
	require.Equal(t, []string{"b", "c"}, d.Problems[0].Servers)
}
