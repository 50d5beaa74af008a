package cli

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"weir/internal/status"
)

func TestFleetShowsTablesThatHaveRows(t *testing.T) {
	f := status.Fleet{
		FleetLink: status.FleetLink{Node: "n1", Prefix: "/weir", Connected: true}, Members: []status.FleetNode{{Name: "n1", Self: true}},
		Disagreements: []status.Disagreement{{Cluster: "c", Server: "a", States: map[string]string{"n1": "failing", "n2": "up"}, Verdict: "1 of 3 nodes finds it down: n1"}},
	}
	var out strings.Builder
	showFleet(&out, f)
	require.NotContains(t, out.String(), "OVERRIDE")
	require.Contains(t, out.String(), "  c/a: n1 failing, n2 up; 1 of 3 nodes finds it down: n1\n")
	f.Overrides = []status.FleetOverride{{Cluster: "c", Server: "a", Text: "drain", Node: "n2", By: "user root"}}
	showFleet(&out, f)
	require.Contains(t, out.String(), "overrides:\n")
	require.Regexp(t, `c/a +drain +n2 +user root`, out.String())
}
