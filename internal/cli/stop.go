package cli

import (
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"
)

func stopCommand(flags *clientFlags) *cobra.Command {
	now := false
	cmd := &cobra.Command{
		Use: "stop [--now]", Short: "Drain, or cut sessions immediately, and wait for the end", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := flags.client()
			if err != nil {
				return err
			}
			var n cutCount
			text, err := c.do(cmd.Context(), http.MethodPost, "/v1/stop", map[string]bool{"now": now}, &n)
			if err != nil {
				return err
			}
			for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
				if _, err := c.do(cmd.Context(), http.MethodGet, "/healthz", nil, nil); err != nil {
					break // the process has exited or closed the API
				}
			}
			if flags.json {
				if err := indent(cmd.OutOrStdout(), text); err != nil {
					return err
				}
			} else {
				fmt.Fprintf(cmd.OutOrStdout(), "stopped, %d sessions cut\n", n.SessionsCut)
			}
			if n.SessionsCut > 0 {
				return Exit(ExitCut)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&now, "now", false, "cut sessions immediately instead of draining")
	return cmd
}
