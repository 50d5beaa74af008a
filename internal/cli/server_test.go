package cli

import (
	"testing"

	"github.com/stretchr/testify/require"

	"weir/internal/status"
)

// The operator who takes out the last eligible server of a level or a cluster is told so.
func TestLastText(t *testing.T) {
	level := func(name string, eligible int, servers ...string) status.Level {
		l := status.Level{Name: name, Eligible: eligible}
		for _, s := range servers {
			l.Servers = append(l.Servers, status.Server{Name: s})
		}
		return l
	}
	for name, c := range map[string]struct {
		level   string // in use
		removed []string
		levels  []status.Level
		want    []string
	}{
		"others":        {"one", nil, []status.Level{level("one", 1, "a", "b")}, nil},
		"last":          {"", nil, []status.Level{level("one", 0, "a")}, []string{"warning: it was the last eligible server of cluster c: no server takes new sessions"}},
		"last of level": {"two", nil, []status.Level{level("one", 0, "a"), level("two", 1, "b")}, []string{"warning: level one has no eligible server; level two is in use"}},
		"other level":   {"one", nil, []status.Level{level("one", 1, "a", "b"), level("two", 0, "x")}, nil},
		"removed, last": {"two", []string{"a"}, []status.Level{level("one", 0), level("two", 1, "b")}, []string{"warning: level one has no eligible server; level two is in use"}},
		"in both levels": {"three", nil, []status.Level{level("one", 0, "a"), level("two", 0, "a"), level("three", 1, "b")}, []string{
			"warning: level one has no eligible server; level three is in use", "warning: level two has no eligible server; level three is in use"}},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, c.want, lastText(&status.Cluster{Name: "c", Level: c.level, Levels: c.levels, Removed: c.removed}, "a"))
		})
	}
}
