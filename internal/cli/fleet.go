package cli

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"weir/internal/status"
)

const fleetHelp = `Several weirs with the same [fleet] share what operators set at run time.

status shows the nodes of the fleet, the overrides, and the servers about whose state
the nodes disagree. reset removes all overrides of the fleet, on every node.`

func fleetCommand(flags *clientFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use: "fleet status|reset", Short: "Show or reset what several weirs share", Long: fleetHelp, Args: cobra.ExactArgs(1),
		ValidArgs: []string{"status", "reset"},
		RunE: func(cmd *cobra.Command, args []string) error {
			switch args[0] {
			case "status":
				return request(cmd, flags, http.MethodGet, path("v1", "fleet"), nil, showFleet)
			case "reset":
				return done(cmd, flags, http.MethodPost, path("v1", "fleet", "reset"), "all overrides of the fleet removed", map[string]any{"reset": true})
			}
			return fmt.Errorf("unknown action %q%s; want status or reset", args[0], didYouMean(args[0], []string{"status", "reset"}))
		},
	}
	return cmd
}

func showFleet(w io.Writer, f status.Fleet) {
	width := widthOf(w)
	state := "connected"
	if !f.Connected {
		state = fmt.Sprintf("not connected since %s: %s", moment(f.Since), f.Error)
	}
	fmt.Fprintln(w, cut(fmt.Sprintf("node %s of fleet %s: %s", f.Node, f.Prefix, state), width))
	t := columns("NODE", "VERSION", "CONFIG", "UPTIME", "SESSIONS", "PROBLEMS")
	for _, n := range f.Members {
		name, problems := n.Name, fmt.Sprint(n.ProblemCount)
		if n.Self {
			name += " (this)"
		}
		if len(n.Problems) > 0 {
			problems += ": " + n.Problems[0]
		}
		t.row(name, n.Version, n.Config, age(n.UptimeSeconds), fmt.Sprint(n.Sessions), problems)
	}
	t.print(w, "  ")
	if len(f.Overrides) > 0 {
		fmt.Fprintln(w, "overrides:")
	}
	t = columns("SERVER", "OVERRIDE", "NODE", "BY", "AT", "REASON", "REMARK")
	for _, o := range f.Overrides {
		at, remark := "", []string{}
		if o.At != nil {
			at = moment(*o.At)
		}
		if o.Pending {
			remark = append(remark, "pending")
		}
		if o.Local {
			remark = append(remark, "local override here")
		}
		t.row(o.Cluster+"/"+o.Server, o.Text, o.Node, o.By, at, o.Reason, strings.Join(remark, ", "))
	}
	t.print(w, "  ")
	if len(f.Disagreements) > 0 {
		fmt.Fprintln(w, "nodes disagree about:")
	}
	for _, d := range f.Disagreements {
		var states []string
		for _, node := range slices.Sorted(maps.Keys(d.States)) {
			states = append(states, node+" "+d.States[node])
		}
		fmt.Fprintln(w, cut(fmt.Sprintf("  %s/%s: %s", d.Cluster, d.Server, strings.Join(states, ", ")), width))
	}
	for _, p := range f.Problems {
		fmt.Fprintln(w, cut("ignored record "+p, width))
	}
}
