package conf

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPlanShowsVerdict(t *testing.T) {
	before := mustParse(t, smallConfig+"servers = [\"h:80\"]\n")
	after := mustParse(t, smallConfig+"servers = [\"h:80\"]\n[cluster.web.fleet]\nverdict = \"quorum\"\n")
	plan := Diff(before, after)
	require.Len(t, plan.Steps, 1)
	require.Equal(t, []Detail{{Key: "fleet.verdict", From: "own", To: "quorum"}}, plan.Steps[0].Details)
}
