package conf

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// drawConfig draws a small legal file with few different values, so that two of them have much in common.
func drawConfig(t *rapid.T) *Config {
	var b strings.Builder
	some := func(format string, values ...any) {
		if i := rapid.IntRange(0, len(values)).Draw(t, format); i > 0 {
			fmt.Fprintf(&b, format+"\n", values[i-1])
		}
	}
	b.WriteString("[runtime]\n")
	some("loops = %d", 1, 2)
	some("max_sessions = %d", 7)
	b.WriteString("[log]\n")
	some("level = %q", "debug", "info")
	names := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"x", "y", "z"}), 1, 3, rapid.ID).Draw(t, "clusters")
	levels := make(map[string]int)
	for _, name := range names {
		fmt.Fprintf(&b, "[cluster.%s]\n", name)
		some("balance = %q", "rr", "hash", "ip_hash")
		some("try_timeout = %q", "1s", "2s")
		some("max_fails = %d", 1, 3)
		levels[name] = rapid.IntRange(1, 3).Draw(t, "levels")
		for i := range levels[name] {
			fmt.Fprintf(&b, "[[cluster.%s.level]]\n", name)
			if rapid.Bool().Draw(t, "named") {
				fmt.Fprintf(&b, "name = \"level%d\"\n", i)
			}
			some("min_up = %d", 1, 2)
			b.WriteString("servers = [")
			for _, s := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "c", "d"}), 0, 4, rapid.ID).Draw(t, "servers") {
				fmt.Fprintf(&b, "\"%s:1 weight=%d\",", s, rapid.IntRange(1, 2).Draw(t, "weight"))
			}
			b.WriteString("]\n")
		}
		for _, id := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"k", "l"}), 0, 2, rapid.ID).Draw(t, "checks") {
			fmt.Fprintf(&b, "[[cluster.%s.check]]\ntype = \"tcp\"\nid = %q\n", name, id)
			some("port = %d", 1, 2)
			some("send = %q", "p", "q")
		}
	}
	ports := rapid.SliceOfNDistinct(rapid.IntRange(1, 5), 1, 4, rapid.ID).Draw(t, "ports")
	for i, port := range ports {
		cluster := rapid.SampledFrom(names).Draw(t, "cluster")
		fmt.Fprintf(&b, "[[listener]]\nname = \"l%d\"\naddress = \"127.0.0.1:%d\"\ncluster = %q\n", i, port, cluster)
		some("backlog = %d", 1, 2)
		if rapid.Bool().Draw(t, "ordered") {
			fmt.Fprintf(&b, "levels = [%d]\n", rapid.IntRange(1, levels[cluster]).Draw(t, "level"))
		}
	}
	c, err := Parse("weir.toml", []byte(b.String()))
	if err != nil {
		t.Fatalf("%s\n%s", b.String(), err)
	}
	c.Warnings = nil
	return c
}

// sorted sorts clusters, listeners and checks, whose order is irrelevant.
func sorted(c *Config) *Config {
	s := *c
	s.Clusters, s.Listeners = slices.Clone(c.Clusters), slices.Clone(c.Listeners)
	slices.SortFunc(s.Clusters, func(a, b Cluster) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(s.Listeners, func(a, b Listener) int { return strings.Compare(a.Name, b.Name) })
	for i := range s.Clusters {
		k := slices.Clone(s.Clusters[i].Checks)
		slices.SortFunc(k, func(a, b Check) int { return strings.Compare(a.ID, b.ID) })
		s.Clusters[i].Checks = k
	}
	return &s
}

// listenIDs lists the listen sockets that a plan adds or removes.
func listenIDs(p Plan, action Action) (out []listenID) {
	for _, s := range p.Steps {
		if s.Object != ObjectListener || s.Action != action {
			continue
		}
		for _, a := range s.Addresses {
			out = append(out, listenID{s.Protocol, a})
		}
	}
	return out
}

func TestDiffProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawConfig(t), drawConfig(t)
		require.True(t, Diff(a, a).Empty())

		there, back := Diff(a, b), Diff(b, a)
		same := fmt.Sprintf("%#v", sorted(a)) == fmt.Sprintf("%#v", sorted(b))
		require.Equal(t, same, there.Empty(), "%s", there)
		require.Equal(t, there.Empty(), back.Empty())

		require.ElementsMatch(t, listenIDs(there, Add), listenIDs(back, Remove))
		kinds := func(p Plan, add, remove Action) (out []string) {
			for _, s := range p.Steps {
				kind := s.Action
				switch kind {
				case Add:
					kind = add
				case Remove:
					kind = remove
				}
				if s.Object != ObjectListener { // whose names may differ
					out = append(out, fmt.Sprintf("%s %s %s/%s", kind, s.Object, s.Cluster, s.Name))
				}
			}
			return out
		}
		require.ElementsMatch(t, kinds(there, Add, Remove), kinds(back, Remove, Add))
		for _, s := range there.Steps {
			require.Equal(t, s.Action == Change, len(s.Details) > 0)
			require.NotContains(t, s.String(), "\n")
			for _, d := range s.Details {
				require.NotEqual(t, d.From, d.To)
				require.True(t, s.Becomes(d.Key, d.To))
			}
		}
	})
}
