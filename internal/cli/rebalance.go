package cli

import (
	"fmt"
	"io"
	"net/http"

	"github.com/spf13/cobra"

	"weir/internal/status"
)

const rebalanceHelp = `Closes sessions of servers that have more than their fair share by weight: only the
surplus, each at a quiet moment, at most close_rate per second. Until it is done, new
sessions go to servers below their share. On a terminal, or with --wait, it waits until
that is done and shows what is left; weir status shows it, too.`

func rebalanceCommand(flags *clientFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use: "rebalance CLUSTER", Short: "Close the sessions above the fair shares of servers", Long: rebalanceHelp, Args: cobra.ExactArgs(1),
		ValidArgsFunction: completeClusters(flags),
	}
	dryRun := cmd.Flags().Bool("dry-run", false, "show what would be closed, and close nothing")
	wait := false
	waitFlag(cmd, &wait, "wait until it is done (default on a terminal)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		r, err := requestWithin(requestTimeout, cmd, flags, http.MethodPost, path("v1", "clusters", args[0], "rebalance"), map[string]bool{"dry_run": *dryRun}, showRebalance)
		if err == nil && r.Surplus > 0 && !r.DryRun && waits(cmd, wait) {
			return followRebalance(cmd, flags, args[0])
		}
		return err
	}
	return cmd
}

func showRebalance(w io.Writer, r status.Rebalance) {
	total := 0
	t := columns("LEVEL", "@SERVER", ">SESSIONS", ">SHARE", ">SURPLUS")
	for _, s := range r.Servers {
		total += s.Sessions
		t.row(s.Level, s.Server, s.Sessions, s.Share, s.Surplus)
	}
	switch {
	case r.Surplus == 0:
		printText(w, fmt.Sprintf("%s: no server is above its fair share; nothing to close", r.Cluster), 2)
	case r.DryRun:
		printText(w, fmt.Sprintf("%s: would close %d of %d sessions", r.Cluster, r.Surplus, total), 2)
	default:
		printText(w, fmt.Sprintf("%s: closing %d of %d sessions", r.Cluster, r.Surplus, total), 2)
	}
	t.print(w, "  ")
}
