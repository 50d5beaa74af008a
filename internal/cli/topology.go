package cli

import (
	"fmt"
	"net/http"

	"github.com/spf13/cobra"
)

const topologyHelp = `reset makes weir forget the highest epoch that the source of the cluster has reported, and
ask the source again. Until then, decisions with a lower epoch are ignored: they come from
Sentinels that were cut off. Use it after Sentinels were installed again, because their
epochs start at 0.`

func topologyCommand(flags *clientFlags) *cobra.Command {
	return &cobra.Command{
		Use: "topology CLUSTER reset", Short: "Forget the epoch of a topology and ask its source again", Long: topologyHelp, Args: cobra.ExactArgs(2),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 1 {
				return []string{"reset"}, cobra.ShellCompDirectiveNoFileComp
			}
			return completeClusters(flags)(cmd, args, word)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if args[1] != "reset" {
				return unknownAction(args[1], []string{"reset"})
			}
			return done(cmd, flags, http.MethodPost, path("v1", "clusters", args[0], "topology", "reset"), fmt.Sprintf("%s: topology reset", args[0]),
				map[string]any{"cluster": args[0], "topology_reset": true})
		},
	}
}
