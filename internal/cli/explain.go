package cli

import (
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"weir/internal/status"
)

func explainCommand(flags *clientFlags) *cobra.Command {
	return &cobra.Command{
		Use: "explain CLUSTER/SERVER", Short: "Explain a server's state, layer by layer", Args: cobra.ExactArgs(1),
		ValidArgsFunction: completeServers(flags),
		RunE: func(cmd *cobra.Command, args []string) error {
			cluster, server, err := clusterAndServer(args[0])
			if err != nil {
				return err
			}
			return request(cmd, flags, http.MethodGet, path("v1", "clusters", cluster, "servers", server, "explain"), nil, showExplanation)
		},
	}
}

func showExplanation(w io.Writer, x status.Explanation) {
	head := fmt.Sprintf("%s/%s at %s is %s since %s", x.Cluster, x.Name, x.Address, x.State, moment(x.Since))
	if x.Reason != "" {
		head += ": " + x.Reason
	}
	state := " is " + x.State + " since "
	for _, line := range wrap(head, 2, widthOf(w), textLines) {
		fmt.Fprintln(w, strings.Replace(line, state, " is "+paletteFor(w).state(x.State)+" since ", 1))
	}
	levels := "level"
	if len(x.Levels) > 1 {
		levels = "levels"
	}
	printText(w, fmt.Sprintf("%s %s, weight %d (%.3g in effect), %s, %d sessions", levels, strings.Join(x.Levels, ", "), x.Weight, x.EffectiveWeight,
		limitText(x.MaxSessions), x.Sessions), 2)
	fmt.Fprintln(w)
	if x.Deadline != nil {
		fmt.Fprintf(w, "its sessions are closed by %s\n\n", moment(*x.Deadline))
	}
	showLayers(w, x.Layers)
}

// showLayers prints each layer in one line and its reason, never cut, in another. > marks the layer that decides.
func showLayers(w io.Writer, layers []status.Layer) {
	t := columns("!LAYER", "SOURCE", "VALUE", "!AT", "!UNTIL")
	for _, l := range layers {
		at, until, name := "", "", l.Layer
		if l.At != nil {
			at = moment(*l.At)
		}
		if l.Until != nil {
			until = moment(*l.Until)
		}
		if l.Decides {
			name = "> " + name
		} else {
			name = "  " + name
		}
		t.row(name, l.By, layerValue(&l), at, until)
	}
	width := widthOf(w)
	var rows strings.Builder
	t.printWithin(&rows, "", width)
	for i, row := range strings.Split(strings.TrimSuffix(rows.String(), "\n"), "\n") {
		fmt.Fprintln(w, row)
		if i > 0 && layers[i-1].Reason != "" {
			printWrapped(w, "      "+layers[i-1].Reason, 6, width, math.MaxInt)
		}
	}
}

func limitText(n int) string {
	if n == 0 {
		return "no limit"
	}
	return fmt.Sprintf("at most %d sessions", n)
}

// layerValue returns everything that a layer sets.
func layerValue(l *status.Layer) string {
	var parts []string
	if l.Says != "" {
		parts = append(parts, l.Says)
	}
	if l.Weight != nil {
		parts = append(parts, fmt.Sprintf("weight %d", *l.Weight))
	}
	if l.Percent != nil {
		parts = append(parts, fmt.Sprintf("%d%%", *l.Percent))
	}
	if l.MaxSessions != nil && *l.MaxSessions > 0 {
		parts = append(parts, fmt.Sprintf("max %d", *l.MaxSessions))
	}
	return strings.Join(parts, ", ")
}
