package cli

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"weir/internal/status"
)

const fleetApplyHelp = `Rolls a shared configuration out to all nodes of the fleet. The file has listeners and
clusters; it is stored as a new revision. Every live node makes its plan first; if one
refuses, nothing changes. Then --canary nodes apply the revision and are watched for
--pause: new problems, failed sessions and refused clients, compared with before and with
the other nodes. Then further nodes follow, twice as many in each step. If a node fails,
all nodes return to the previous revision.

The command waits for the end. The exit code is 1 if the revision was refused or rolled
back. The roll-out goes on without the command: weir fleet rollback ends it.`

const fleetRollbackHelp = `Returns all nodes to the previous revision of the shared configuration. During a roll-out,
ends it and returns to the revision before it.`

// fleetConfigCommands are the subcommands of weir fleet that change the shared configuration.
func fleetConfigCommands(flags *clientFlags) []*cobra.Command {
	apply := &cobra.Command{Use: "apply -c FILE", Short: "Roll a shared configuration out to all nodes", Long: fleetApplyHelp, Args: cobra.NoArgs}
	file := ConfigFlag(apply)
	canary := apply.Flags().Int("canary", 1, "the `number` of nodes that apply it first; 0 = all at once")
	pause := apply.Flags().Duration("pause", 30*time.Second, "how long the nodes of each step are watched")
	apply.RunE = func(cmd *cobra.Command, _ []string) error {
		if *file == "" {
			return UsageError(cmd)
		}
		in, err := ConfigInput(cmd, *file)
		if err == nil && in.Text == nil {
			in.Text, err = os.ReadFile(*file)
		}
		if err != nil {
			return err
		}
		return rollOut(cmd, flags, "/v1/fleet/config", map[string]any{
			"file": *file, "text": string(in.Text), "canary": *canary, "pause": pause.String(),
		})
	}
	rollback := &cobra.Command{Use: "rollback", Short: "Return to the previous shared configuration", Long: fleetRollbackHelp, Args: cobra.NoArgs}
	rollback.RunE = func(cmd *cobra.Command, _ []string) error {
		return rollOut(cmd, flags, "/v1/fleet/config/rollback", nil)
	}
	return []*cobra.Command{apply, rollback}
}

// rolloutInterval is the time between two looks at a roll-out.
const rolloutInterval = 500 * time.Millisecond

// rollOut begins or ends a roll-out and follows it to its end.
func rollOut(cmd *cobra.Command, flags *clientFlags, path string, body any) error {
	c, err := flags.client()
	if err != nil {
		return err
	}
	var begun status.Rollout
	ctx, cancel := context.WithTimeout(cmd.Context(), requestTimeout)
	defer cancel()
	if _, err := c.do(ctx, http.MethodPost, path, body, &begun); err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	if flags.json {
		out = io.Discard
	}
	last, text, err := followRollout(cmd.Context(), c, out, begun)
	if err != nil {
		return fmt.Errorf("%w; the roll-out of revision %d continues without this command: see weir fleet status", err, begun.To)
	}
	if flags.json {
		if err := indent(cmd.OutOrStdout(), text); err != nil {
			return err
		}
	}
	r := last.Rollout
	switch {
	case path == "/v1/fleet/config/rollback" && !begun.Active: // it has ended the one in progress
	case r.Phase != "done":
		return ExitError{ExitUsage, fmt.Errorf("revision %d %s: %s", r.To, strings.ReplaceAll(r.Phase, "_", " "), rolloutReason(r))}
	}
	if !flags.json {
		fmt.Fprintf(out, "%s in force on %s\n", revisionName(r.Current), nodeCount(len(last.Nodes)))
	}
	return nil
}

// followRollout prints each phase of a roll-out, and returns the state after which it has ended and all live nodes run the
// revision in force or have reported why they cannot.
func followRollout(ctx context.Context, c *client, out io.Writer, begun status.Rollout) (status.SharedConfig, []byte, error) {
	fmt.Fprintf(out, "roll-out of %s by %s\n", revisionName(begun.To), begun.By)
	shown := ""
	for failures := 0; ; {
		var s status.SharedConfig
		asked, cancel := context.WithTimeout(ctx, requestTimeout)
		text, err := c.do(asked, http.MethodGet, "/v1/fleet/config", nil, &s)
		cancel()
		switch {
		case err != nil && ctx.Err() == nil && failures < 5: // a reload of the node may close the connection
			failures++
		case err != nil:
			return s, nil, err
		case s.Rollout != nil && s.Rollout.ID > begun.ID:
			return s, nil, fmt.Errorf("another roll-out has begun: revision %d by %s", s.Rollout.To, s.Rollout.By)
		case s.Rollout != nil && s.Rollout.ID == begun.ID:
			failures = 0
			if line := phaseLine(s.Rollout); line != shown {
				shown = line
				fmt.Fprintln(out, line)
			}
			if !s.Rollout.Active && settled(s) {
				return s, text, nil
			}
		}
		timer := time.NewTimer(rolloutInterval)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return s, nil, ctx.Err()
		}
	}
}

// settled reports whether all nodes run the revision in force or say why not.
func settled(s status.SharedConfig) bool {
	for _, n := range s.Nodes {
		if n.Revision != s.Rollout.Current && n.Error == "" {
			return false
		}
	}
	return true
}

// phaseLine describes the phase of a roll-out.
func phaseLine(r *status.Rollout) string {
	line := strings.ReplaceAll(r.Phase, "_", " ")
	if len(r.Watched) > 0 {
		line += ": " + strings.Join(r.Watched, ", ")
	}
	return line
}

// rolloutReason formats why a roll-out has failed.
func rolloutReason(r *status.Rollout) string {
	if r.Node == "" {
		return r.Reason
	}
	return r.Node + ": " + r.Reason
}

// showSharedConfig prints the revisions of the nodes and the last roll-out.
func showSharedConfig(w io.Writer, c *status.SharedConfig, width int) {
	r := c.Rollout
	if r == nil {
		fmt.Fprintln(w, "shared configuration: none yet; every node uses its file")
		return
	}
	printText(w, fmt.Sprintf("shared configuration: %s; roll-out of %s by %s: %s", revisionName(r.Current), revisionName(r.To), r.By, phaseLine(r)), 4)
	if r.Reason != "" {
		printText(w, "  "+rolloutReason(r), 4)
	}
	t := columns("@NODE", "!REVISION", "!VOTE", "~PROBLEM")
	for _, n := range c.Nodes {
		t.row(n.Node, revisionName(n.Revision), n.Vote, n.Error)
	}
	t.print(w, "  ")
}

// revisionName formats a revision.
func revisionName(revision int) string {
	if revision == 0 {
		return "the file of each node"
	}
	return fmt.Sprintf("revision %d", revision)
}

func nodeCount(n int) string {
	if n == 1 {
		return "1 node"
	}
	return fmt.Sprintf("%d nodes", n)
}
