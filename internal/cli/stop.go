package cli

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"weir/internal/status"
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
			stopLooking := func() {}
			if !now {
				stopLooking = waiting(cmd, flags, c.stopProgress(cmd.Context()))
			}
			defer stopLooking()
			text, err := c.do(cmd.Context(), http.MethodPost, "/v1/stop", map[string]bool{"now": now}, &n)
			if err != nil {
				return err
			}
			stopLooking()
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

// stopProgress returns a function that describes the stop in progress, or returns "" while no session is left.
func (c *client) stopProgress(ctx context.Context) func() string {
	var last status.Document
	return func() string {
		var doc status.Document
		if c.look(ctx, "/v1/status?max_servers=0", &doc) {
			last = doc
		}
		if last.Sessions == 0 {
			return ""
		}
		return stopText(&last, time.Now())
	}
}
