package l4

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// Every combination of phase and reason has an index of its own, names differ, and none has the phase abort.
func TestTerminations(t *testing.T) {
	names := map[string]bool{}
	for i, end := range Terminations() {
		require.Equal(t, i, end.index(), end.String())
		require.NotContains(t, []Phase{PhaseNone, PhaseAbort}, end.Phase)
		require.NotEqual(t, ReasonNone, end.Reason, "terminationCount is too large")
		names[end.String()] = true
	}
	require.Len(t, names, terminationCount)
	require.Equal(t, Termination{PhaseHandover, ReasonCutOperator}, terminations[terminationCount-1], "terminationCount is too small")
}

func TestExpectedTerminations(t *testing.T) {
	for _, end := range Terminations() {
		switch end.Reason {
		case ReasonClientClosed, ReasonServerClosed, ReasonFlowTimeout, ReasonResponsesComplete, ReasonEvicted:
			require.True(t, end.expected(), end.String())
		case ReasonClientReset:
			require.Equal(t, slices.Contains([]Phase{PhaseAccept, PhaseProxyHeader, PhaseClientHello}, end.Phase), end.expected(), end.String())
		default:
			require.False(t, end.expected(), end.String())
		}
	}
}
