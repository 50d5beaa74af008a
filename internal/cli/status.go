package cli

// weir status: the status document as tables.

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"weir/internal/status"
)

func statusCommand(flags *clientFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use: "status [CLUSTER]", Short: "Show listeners, clusters, servers and their states", Long: statusHelp, Args: cobra.MaximumNArgs(1),
		ValidArgsFunction: completeClusters(flags),
	}
	all := cmd.Flags().Bool("all", false, "show all servers of large clusters")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 1 {
			if args[0] == "" {
				return errors.New("want the name of a cluster, got \"\"")
			}
			return request(cmd, flags, http.MethodGet, path("v1", "clusters", args[0]), nil, showOneCluster)
		}
		at := "/v1/status"
		if !*all && !flags.json { // what is not shown of many servers is not sent
			at += fmt.Sprintf("?max_servers=%d", maxServersShown)
		}
		return request(cmd, flags, http.MethodGet, at, nil, func(w io.Writer, doc status.Document) { showDocument(w, doc, *all) })
	}
	return cmd
}

const statusHelp = `Shows problems, the worst first, then listeners, clusters and servers. Of a cluster with
many servers, those that are up are only counted; --all shows them. With CLUSTER, shows
all its servers, and for how long each is in its state, its checks, sessions and dials.`

// showOneCluster prints everything about a cluster.
func showOneCluster(w io.Writer, c status.Cluster) {
	showCluster(w, &c, math.MaxInt)
	showWork(w, &c)
	showLegend(w, []status.Cluster{c})
}

// showStatus prints the document, with large clusters in short.
func showStatus(w io.Writer, doc status.Document) { showDocument(w, doc, false) }

// showDocument prints the document. Large clusters are shown in short unless all is set.
func showDocument(w io.Writer, doc status.Document, all bool) {
	fmt.Fprintf(w, "weir %s, pid %d, up %s, %d of %d sessions\n", doc.Version, doc.PID, age(doc.UptimeSeconds), doc.Sessions, doc.MaxSessions)
	printText(w, fmt.Sprintf("configuration %s loaded %s", doc.Config.File, moment(doc.Config.LoadedAt)), 2)
	fmt.Fprintln(w)
	showProblems(w, doc.Problems)
	fmt.Fprintln(w)
	t := columns("@LISTENER", "!ADDRESS", "CLUSTER", ">SESSIONS", ">TOTAL", ">TO SERVERS", ">TO CLIENTS")
	for _, l := range doc.Listeners {
		address := l.Address
		if l.Protocol != "tcp" {
			address = l.Protocol + " " + address
		}
		t.row(l.Name, address, l.Cluster, l.Sessions, l.SessionsTotal, size(l.BytesUp), size(l.BytesDown))
	}
	t.print(w, "")
	showVIPs(w, &doc)
	showPromotion(w, doc.Promotion)
	showRoutes(w, doc.Listeners)
	showClusters(w, &doc, all)
	showHooks(w, doc.Hooks)
	showLegend(w, doc.Clusters)
}

// showRoutes prints the routes of listeners, once for each listener.
func showRoutes(w io.Writer, listeners []status.Listener) {
	t := columns("@LISTENER", "!ROUTE", "CONDITIONS", "CLUSTER", ">TOTAL")
	shown := map[string]bool{}
	for _, l := range listeners {
		if shown[l.Name] {
			continue
		}
		shown[l.Name] = len(l.Routes) > 0
		for _, r := range l.Routes {
			var clusters []string
			for _, name := range slices.Sorted(maps.Keys(r.Clusters)) {
				if len(r.Clusters) > 1 {
					name += fmt.Sprintf("=%d", r.Clusters[name])
				}
				clusters = append(clusters, name)
			}
			t.row(l.Name, r.Name, r.Conditions, strings.Join(clusters, " "), r.SessionsTotal)
		}
	}
	if slices.Contains(slices.Collect(maps.Values(shown)), true) {
		fmt.Fprintln(w)
		t.print(w, "")
	}
}

// showPromotion prints what the kernel forwards.
func showPromotion(w io.Writer, p *status.Promotion) {
	if p == nil {
		return
	}
	where := "no interface"
	if len(p.Interfaces) > 0 {
		where = strings.Join(p.Interfaces, ", ")
	}
	fmt.Fprintf(w, "\npromotion at %s: the kernel forwards %d sessions, %d since the start\n", where, p.Sessions, p.Promoted)
	for _, list := range []struct {
		what    string
		reasons []status.ReasonCount
	}{{"not promoted", p.Refused}, {"no longer", p.Demoted}} {
		var texts []string
		for _, r := range list.reasons {
			if r.Count > 0 {
				texts = append(texts, fmt.Sprintf("%s %d", r.Reason, r.Count))
			}
		}
		if texts != nil {
			printText(w, list.what+": "+strings.Join(texts, ", "), 2)
		}
	}
}

func showHooks(w io.Writer, hooks []status.Hook) {
	if len(hooks) == 0 {
		return
	}
	fmt.Fprintln(w)
	t := columns("@EVENT HOOK", "!KIND", ">QUEUED", ">DELIVERED", ">DROPPED", "~LAST ERROR")
	for _, h := range hooks {
		t.row(h.Name, h.Kind, h.Queued, h.Delivered, h.Dropped, h.LastError)
	}
	t.print(w, "")
}
