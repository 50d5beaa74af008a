package cli

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"weir/internal/status"
)

const discoverHelp = `Shows what the providers of a cluster (discover) have answered: each server with its labels,
what cannot be used and why, the last changes, and when the provider is asked again.`

func discoverCommand(flags *clientFlags) *cobra.Command {
	return &cobra.Command{
		Use: "discover CLUSTER", Short: "Show the servers that providers have found", Long: discoverHelp, Args: cobra.ExactArgs(1),
		ValidArgsFunction: completeClusters(flags),
		RunE: func(cmd *cobra.Command, args []string) error {
			return request(cmd, flags, http.MethodGet, path("v1", "clusters", args[0], "discover"), nil, showDiscoveries)
		},
	}
}

func showDiscoveries(w io.Writer, r status.DiscoveryReport) {
	if len(r.Providers) == 0 {
		fmt.Fprintf(w, "%s: no level has a provider (discover)\n", r.Cluster)
	}
	for i := range r.Providers {
		if i > 0 {
			fmt.Fprintln(w)
		}
		showProvider(w, r.Cluster, &r.Providers[i])
	}
}

func showProvider(w io.Writer, cluster string, p *status.ProviderReport) {
	printText(w, fmt.Sprintf("%s, level %s: %s", cluster, p.Level, discoveryText(&p.Discovery)), 4)
	if p.Error != "" {
		printText(w, fmt.Sprintf("  fails since %s: %s", moment(*p.FailingFrom), p.Error), 4)
	}
	if p.EmptySince != nil {
		fmt.Fprintln(w, "  lists no server since "+moment(*p.EmptySince)+"; keep_on_empty keeps the last ones")
	}
	if p.NextAt != nil {
		fmt.Fprintf(w, "  next question in %s at the latest\n", age(max(0, time.Until(*p.NextAt).Seconds())))
	}
	t := columns("!ADDRESS", "@SERVER", "OPTIONS", "LABELS", "~REMARK")
	for _, e := range p.Entries {
		t.row(e.Address, e.Server, pairs(e.Options), pairs(e.Labels), e.Reason)
	}
	t.print(w, "  ")
	if p.BadEntries > 0 {
		fmt.Fprintf(w, "  cannot be used: %d\n", p.BadEntries)
	}
	for _, b := range p.Bad {
		printText(w, fmt.Sprintf("    %s: %s", b.Entry, b.Reason), 4)
	}
	if p.Dropped > 0 {
		fmt.Fprintf(w, "  beyond the limit, dropped: %d\n", p.Dropped)
	}
	for _, c := range p.Recent {
		printText(w, "  "+moment(c.At)+changeText(&c), 4)
	}
}

// discoveryText describes the answer of a provider in one line.
func discoveryText(d *status.Discovery) string {
	text := fmt.Sprintf("%s, %d servers", d.Source, d.Servers)
	switch {
	case d.AnsweredAt == nil:
		text += ", no answer yet"
	case d.Saved:
		text += fmt.Sprintf(", answer of an earlier process or configuration, %s old", age(d.AgeSeconds))
	default:
		text += fmt.Sprintf(", answered %s ago", age(d.AgeSeconds))
	}
	return text
}

// changeText describes one change of an answer.
func changeText(c *status.AnswerChange) string {
	var b strings.Builder
	for _, part := range []struct {
		verb  string
		names []string
		n     int
	}{{"added", c.Added, c.AddedN}, {"removed", c.Removed, c.RemovedN}, {"changed", c.Changed, c.ChangedN}} {
		if part.n == 0 {
			continue
		}
		fmt.Fprintf(&b, " %s %s", part.verb, strings.Join(part.names, ", "))
		if more := part.n - len(part.names); more > 0 {
			fmt.Fprintf(&b, " and %d more", more)
		}
		b.WriteString(";")
	}
	return strings.TrimSuffix(b.String(), ";")
}

// pairs formats a map, sorted by its keys.
func pairs(m map[string]string) string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(m)) {
		list = append(list, name+"="+m[name])
	}
	return strings.Join(list, " ")
}
