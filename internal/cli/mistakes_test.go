package cli

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Mistakes are named, with what was probably meant, before weir is asked.
func TestMistakesAreNamed(t *testing.T) {
	root := NewRoot(Program{Version: "test"})
	root.SetArgs([]string{"server", "c/a", "maint", "--wait"})
	require.EqualError(t, root.Execute(), "unexpected flag --wait: maint has nothing to wait for; drain takes it")
	for word, says := range map[string]string{
		"drain":  `did you mean "weir server CLUSTER/SERVER drain"?`,
		"close":  `did you mean "weir session ID close"?`,
		"evnets": `did you mean "events"?`,
		"qqq":    `run weir help for a list`,
	} {
		for _, args := range [][]string{{word}, {"help", word}} {
			root.SetArgs(args)
			require.ErrorContains(t, root.Execute(), fmt.Sprintf("unknown command %q", word))
			require.ErrorContains(t, root.Execute(), says)
		}
	}
	for words, says := range map[string]string{
		"sessions --limit x":    `--limit: want a number, got "x"`,
		"sessions --limt 5":     "unknown flag --limt; did you mean --limit?",
		"stop now":              `unexpected argument "now"; usage: weir stop`,
		"server c/a weight -3":  `unexpected argument "-3"`,
		"fleet drain n1 now":    `unexpected argument "now"`,
		"node ready now":        `unexpected argument "now"`,
		"topology c rest":       `unknown action "rest"; did you mean "reset"?`,
		"session 7 shut":        `unknown action "shut"; want close`,
		"rebalance c --dry-rnu": "did you mean --dry-run?",
	} {
		root.SetArgs(strings.Fields(words))
		require.ErrorContains(t, root.Execute(), says, words)
	}
}
