package cli

import (
	"fmt"
	"net/http"

	"github.com/spf13/cobra"
)

func failbackCommand(flags *clientFlags) *cobra.Command {
	return &cobra.Command{
		Use: "failback CLUSTER", Short: "Return to a better level where failback is manual", Args: cobra.ExactArgs(1),
		ValidArgsFunction: completeClusters(flags),
		RunE: func(cmd *cobra.Command, args []string) error {
			return done(cmd, flags, http.MethodPost, path("v1", "clusters", args[0], "failback"), fmt.Sprintf("%s: failed back", args[0]),
				map[string]any{"cluster": args[0], "failed_back": true})
		},
	}
}
