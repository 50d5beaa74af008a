package cli

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"weir/internal/status"
)

const fleetHelp = `Several weirs with the same [fleet] share what operators set at run time, and the
configuration.

status shows the nodes of the fleet, the overrides, and the servers about whose state
the nodes disagree. drain and ready do on a node what weir node drain and ready do
there. reset removes all overrides of the fleet, on every node; with --config it
removes the shared configuration instead, and all nodes return to the listeners and
clusters of their files: a node whose file has none serves nothing then. follow ends the servers
of a cluster that were added or removed with --local on this node. forget frees the parts
of limits that are reserved for a node that does not return and does not run. apply
rolls a shared configuration out; rollback returns to the previous one.`

func fleetCommand(flags *clientFlags) *cobra.Command {
	verbs := []string{"status", "drain", "ready", "follow", "forget", "reset"}
	var reason string
	var config bool
	cmd := &cobra.Command{
		Use: "fleet status|drain NODE|ready NODE|follow CLUSTER|forget NODE|reset|apply|rollback", Short: "Show or change what several weirs share", Long: fleetHelp, Args: cobra.MinimumNArgs(1),
		ValidArgs: verbs,
		RunE: func(cmd *cobra.Command, args []string) error {
			named := args[0] != "status" && args[0] != "reset"
			takesReason := args[0] == status.NodeDrain || args[0] == status.NodeReady
			switch {
			case !slices.Contains(verbs, args[0]):
				return unknownAction(args[0], append(verbs, "apply", "rollback"))
			case args[0] == "follow" && len(args) < 2:
				return errors.New("follow: want the name of a cluster")
			case named && len(args) < 2:
				return fmt.Errorf("%s: want the name of a node; weir fleet status lists them", args[0])
			case !named && len(args) > 1 || len(args) > 2:
				return fmt.Errorf("unexpected argument %q", args[len(args)-1])
			case !takesReason && cmd.Flags().Changed("reason"):
				return fmt.Errorf("unexpected flag --reason: %s takes no reason", args[0])
			case args[0] != "reset" && config:
				return fmt.Errorf("unexpected flag --config: %s changes no configuration; reset takes it", args[0])
			case config:
				return rollOut(cmd, flags, "/v1/fleet/config/reset", nil)
			case args[0] == "follow":
				return done(cmd, flags, http.MethodPost, path("v1", "fleet", "clusters", args[1], "follow"), args[1]+": follows the fleet", map[string]any{"cluster": args[1], "follows": true})
			case args[0] == "forget":
				return done(cmd, flags, http.MethodDelete, path("v1", "fleet", "nodes", args[1]), "parts of limits of node "+args[1]+" freed", map[string]any{"forgotten": args[1]})
			case named:
				body := map[string]string{}
				if reason != "" {
					body["reason"] = reason
				}
				return request(cmd, flags, http.MethodPost, path("v1", "fleet", "nodes", args[1], args[0]), body, showNodeChange)
			case args[0] == "reset":
				return done(cmd, flags, http.MethodPost, path("v1", "fleet", "reset"), "all overrides of the fleet removed", map[string]any{"reset": true})
			}
			return request(cmd, flags, http.MethodGet, path("v1", "fleet"), nil, showFleet)
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "with drain and ready: the reason, shown in weir status of the node")
	cmd.Flags().BoolVar(&config, "config", false, "with reset: remove the shared configuration instead of the overrides")
	for _, c := range fleetConfigCommands(flags) {
		flags.add(c)
		c.Args = withUsage(c.Args)
		cmd.AddCommand(c)
	}
	return cmd
}

func showNodeChange(w io.Writer, c status.FleetNodeChange) {
	fmt.Fprintf(w, "node %s: %s%s\n", c.Node, c.State, sharedText(c.Shared))
}

func showFleet(w io.Writer, f status.Fleet) {
	width := widthOf(w)
	state := "connected"
	if !f.Connected {
		state = fmt.Sprintf("not connected since %s: %s", moment(f.Since), f.Error)
	}
	printText(w, fmt.Sprintf("node %s of fleet %s: %s", f.Node, f.Prefix, state), 4)
	t := columns("@NODE", "VERSION", "CONFIG", ">UPTIME", ">SESSIONS", ">PROBLEMS", "~WORST")
	for _, n := range f.Members {
		name, worst := n.Name, ""
		if n.Self {
			name += " (this)"
		}
		if len(n.Problems) > 0 {
			worst = n.Problems[0]
		}
		t.row(name, n.Version, n.Config, age(n.UptimeSeconds), n.Sessions, n.ProblemCount, worst)
	}
	t.print(w, "  ")
	showFleetOverrides(w, f.Overrides)
	if len(f.Disagreements) > 0 {
		fmt.Fprintln(w, "nodes disagree about:")
	}
	for _, d := range f.Disagreements {
		var states []string
		for _, node := range slices.Sorted(maps.Keys(d.States)) {
			states = append(states, node+" "+d.States[node])
		}
		text := fmt.Sprintf("  %s/%s: %s", d.Cluster, d.Server, strings.Join(states, ", "))
		if d.Verdict != "" {
			text += "; " + d.Verdict
		}
		printText(w, text, 4)
	}
	showLimits(w, f.Limits)
	if f.SharedConfig != nil {
		showSharedConfig(w, f.SharedConfig, width)
	}
	for _, p := range f.Problems {
		printText(w, "ignored record "+p, 4)
	}
}

// showFleetOverrides shows what operators have set.
func showFleetOverrides(w io.Writer, list []status.FleetOverride) {
	if len(list) == 0 {
		return
	}
	fmt.Fprintln(w, "overrides:")
	t := columns("@OBJECT", "!OVERRIDE", "NODE", "BY", "!AT", "REASON", "~REMARK")
	for _, o := range list {
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
		name := o.Cluster + "/" + o.Server
		switch {
		case o.Object != "":
			name = "node " + o.Object
		case o.Server == "":
			name = o.Cluster
		}
		t.row(name, o.Text, o.Node, o.By, at, o.Reason, strings.Join(remark, ", "))
	}
	t.print(w, "  ")
}

// showLimits shows how limits are divided.
func showLimits(w io.Writer, list []status.FleetLimit) {
	if len(list) == 0 {
		return
	}
	fmt.Fprintln(w, "limits:")
	t := columns("LIMIT", "@OF", ">TOTAL", ">PART", "RESERVED FOR", ">FREE")
	for _, l := range list {
		var reserved []string
		for _, node := range slices.Sorted(maps.Keys(l.Reserved)) {
			reserved = append(reserved, fmt.Sprintf("%s %d", node, l.Reserved[node]))
		}
		t.row(l.Kind, l.Of(), fmt.Sprint(l.Limit), fmt.Sprint(l.Part), strings.Join(reserved, ", "), fmt.Sprint(l.Free))
	}
	t.print(w, "  ")
}
