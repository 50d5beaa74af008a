package main

// Commands that show what is: status, sessions, explain.

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"weir/internal/status"
)

func statusCommand(r *reach) *cobra.Command {
	return &cobra.Command{
		Use: "status [CLUSTER]", Short: "Show listeners, clusters, servers and their states", Args: cobra.MaximumNArgs(1),
		ValidArgsFunction: completeClusters(r),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				return tell(cmd, r, http.MethodGet, path("v1", "clusters", args[0]), nil, func(w io.Writer, c status.Cluster) {
					showCluster(w, &c, math.MaxInt)
					showLegend(w, []status.Cluster{c})
				})
			}
			return tell(cmd, r, http.MethodGet, "/v1/status", nil, showStatus)
		},
	}
}

func showStatus(w io.Writer, doc status.Document) {
	fmt.Fprintf(w, "weir %s, pid %d, up %s, %d of %d sessions\n", doc.Version, doc.PID, age(doc.UptimeSeconds), doc.Sessions, doc.MaxSessions)
	fmt.Fprintln(w, cut(fmt.Sprintf("loaded %s from %s", moment(doc.Config.LoadedAt), doc.Config.File), width))
	fmt.Fprintln(w)
	showTroubles(w, doc.Troubles)
	fmt.Fprintln(w)
	t := columns("LISTENER", "ADDRESS", "CLUSTER", ">SESSIONS", ">TOTAL", ">UP", ">DOWN")
	for _, l := range doc.Listeners {
		address := l.Address
		if l.Protocol != "tcp" {
			address = l.Protocol + " " + address
		}
		t.row(l.Name, address, l.Cluster, l.Sessions, l.SessionsTotal, size(l.BytesUp), size(l.BytesDown))
	}
	t.print(w, "")
	troubled := make(map[string]bool)
	for _, t := range doc.Troubles {
		troubled[t.Cluster] = troubled[t.Cluster] || t.Severity != status.Note
	}
	for _, now := range []bool{true, false} { // those with troubles first
		for i := range doc.Clusters {
			if c := &doc.Clusters[i]; troubled[c.Name] == now {
				fmt.Fprintln(w)
				showCluster(w, c, fewServers)
			}
		}
	}
	showHooks(w, doc.Hooks)
	showLegend(w, doc.Clusters)
}

func showHooks(w io.Writer, hooks []status.Hook) {
	if len(hooks) == 0 {
		return
	}
	fmt.Fprintln(w)
	t := columns("EVENT HOOK", "KIND", ">QUEUED", ">DELIVERED", ">DROPPED", "LAST ERROR")
	for _, h := range hooks {
		t.row(h.Name, h.Kind, h.Queued, h.Delivered, h.Dropped, h.LastError)
	}
	t.print(w, "")
}

// showTroubles writes what is wrong, each thing in a line and its reason in another.
func showTroubles(w io.Writer, troubles []status.Trouble) {
	k := inkFor(w)
	if len(troubles) == 0 {
		fmt.Fprintln(w, k.severity("", "all is well"))
	}
	for i, t := range troubles {
		if i == mostTroubles {
			fmt.Fprintf(w, "and %d more; --json has them all\n", len(troubles)-i)
			break
		}
		text := strings.ToUpper(t.Severity) + "  "
		if t.Cluster != "" {
			text += t.Cluster + ": "
		}
		text += t.Text
		since := ""
		if t.Since != nil {
			since = " since " + moment(*t.Since)
		}
		fmt.Fprintln(w, k.severity(t.Severity, cut(text, width-len(since))+since))
		most := width
		if t.Cluster == "" {
			most = mistakeWidth
		}
		for line := range strings.SplitSeq(t.Reason, "\n") {
			if line != "" {
				fmt.Fprintln(w, cut("  "+line, most))
			}
		}
	}
}

// mostTroubles is how many things that are wrong are told of: those that matter are first.
const mostTroubles = 12

// mistakeWidth bounds a line about a mistake in the file: its place is worth more than one line of a terminal.
const mistakeWidth = 4 * width

// fewServers is how many servers a cluster may have of which weir status shows all: of larger ones it shows those that
// are not up.
const fewServers = 16

// showCluster writes a cluster's table. If it has more servers than most, those that are up are counted and left out.
func showCluster(w io.Writer, c *status.Cluster, most int) {
	head := []string{c.Balance}
	switch {
	case c.Level == "":
		head = append(head, "no level in use")
	default:
		head = append(head, "level "+c.Level+" in use")
	}
	if c.Held {
		head = append(head, "held: failback is manual")
	}
	if c.Empty {
		head = append(head, "no server is healthy")
	}
	if c.Queue > 0 {
		head = append(head, fmt.Sprintf("%d sessions wait", c.Queue))
	}
	if c.Origin == status.OriginAPI {
		head = append(head, "described at run time")
	}
	fmt.Fprintln(w, cut(c.Name+": "+strings.Join(head, ", "), width))
	servers := 0
	for i := range c.Levels {
		servers += len(c.Levels[i].Servers)
	}
	t := columns("LEVEL", "!", "SERVER", "STATE", ">WEIGHT", ">SESSIONS", "REASON")
	t.paint[3] = inkFor(w).state
	for _, l := range c.Levels {
		name := l.Name
		if l.InUse {
			name += " <"
		}
		if len(l.Servers) == 0 {
			t.row(name, "", "(none)", "", "", "", "")
		}
		up, sessions := 0, 0
		for i := range l.Servers {
			s := &l.Servers[i]
			if servers > most && s.State == "up" {
				up++
				sessions += s.Sessions
				continue
			}
			t.row(name, marks(s), s.Name, s.State, s.Weight, s.Sessions, s.Reason)
			name = ""
		}
		if up > 0 {
			t.row(name, "", fmt.Sprintf("(%d of %d)", up, len(l.Servers)), "up", "", sessions, "weir status "+c.Name+" shows them")
		}
	}
	t.print(w, "  ")
	if len(c.Removed) > 0 {
		fmt.Fprintln(w, "  removed at run time:", strings.Join(c.Removed, ", "))
	}
}

// marks are a star if an operator has said something about a server, and a plus if it was added at run time.
func marks(s *status.Server) string {
	text := ""
	if s.Origin == status.OriginAPI {
		text += "+"
	}
	if slices.ContainsFunc(s.Layers, func(l status.Layer) bool { return l.Layer == "override" }) {
		text += "*"
	}
	return text
}

func showLegend(w io.Writer, clusters []status.Cluster) {
	all := ""
	for _, c := range clusters {
		for _, l := range c.Levels {
			for i := range l.Servers {
				all += marks(&l.Servers[i])
			}
		}
	}
	if all != "" {
		fmt.Fprintln(w)
	}
	if strings.Contains(all, "*") {
		fmt.Fprintln(w, "* an operator has set state, weight or max_sessions; weir explain tells")
	}
	if strings.Contains(all, "+") {
		fmt.Fprintln(w, "+ added at run time")
	}
}

func sessionsCommand(r *reach) *cobra.Command {
	var listener, cluster, server string
	var limit int
	cmd := &cobra.Command{
		Use: "sessions", Short: "List sessions", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			q := url.Values{"limit": {strconv.Itoa(limit)}}
			for name, value := range map[string]string{"listener": listener, "cluster": cluster, "server": server} {
				if value != "" {
					q.Set(name, value)
				}
			}
			return tell(cmd, r, http.MethodGet, "/v1/sessions?"+q.Encode(), nil, showSessions)
		},
	}
	cmd.Flags().StringVar(&listener, "listener", "", "only those of this listener")
	cmd.Flags().StringVar(&cluster, "cluster", "", "only those of this cluster")
	cmd.Flags().StringVar(&server, "server", "", "only those of this server")
	cmd.Flags().IntVar(&limit, "limit", 1000, "at most so many")
	completeFilters(cmd, r)
	return cmd
}

func showSessions(w io.Writer, list []status.Session) {
	slices.SortFunc(list, func(a, b status.Session) int { return cmp.Compare(a.ID, b.ID) })
	t := columns("!ID", "CLIENT", "SERVER", "PHASE", ">UP", ">DOWN", ">AGE")
	for _, s := range list {
		server := s.Cluster
		if s.Server != "" {
			server += "/" + s.Server
		}
		t.row(s.ID, s.Client, server, s.Phase, size(s.BytesUp), size(s.BytesDown), age(s.AgeSeconds))
	}
	t.print(w, "")
}

func explainCommand(r *reach) *cobra.Command {
	return &cobra.Command{
		Use: "explain CLUSTER/SERVER", Short: "Show how a server's state came about, layer by layer", Args: cobra.ExactArgs(1),
		ValidArgsFunction: completeServers(r),
		RunE: func(cmd *cobra.Command, args []string) error {
			cluster, server, err := clusterAndServer(args[0])
			if err != nil {
				return err
			}
			return tell(cmd, r, http.MethodGet, path("v1", "clusters", cluster, "servers", server, "explain"), nil, showExplanation)
		},
	}
}

func showExplanation(w io.Writer, x status.Explanation) {
	fmt.Fprintf(w, "%s/%s at %s is %s since %s", x.Cluster, x.Name, x.Address, inkFor(w).state(x.State), moment(x.Since))
	if x.Reason != "" {
		fmt.Fprintf(w, ": %s", plain(x.Reason))
	}
	levels := "level"
	if len(x.Levels) > 1 {
		levels = "levels"
	}
	fmt.Fprintf(w, "\n%s %s, weight %d (%.3g in effect), %s, %d sessions\n\n", levels, strings.Join(x.Levels, ", "), x.Weight, x.EffectiveWeight,
		limitText(x.MaxSessions), x.Sessions)
	showLayers(w, x.Layers)
}

// showLayers writes what each layer says, and why in a line of its own, which is never cut; a mark is before the one that
// decides.
func showLayers(w io.Writer, layers []status.Layer) {
	t := columns("LAYER", "BY", "SAYS", "AT", "UNTIL")
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
		t.row(name, l.By, says(&l), at, until)
	}
	var rows strings.Builder
	t.print(&rows, "")
	for i, row := range strings.Split(strings.TrimSuffix(rows.String(), "\n"), "\n") {
		fmt.Fprintln(w, row)
		if i > 0 && layers[i-1].Reason != "" {
			fmt.Fprintln(w, "     ", plain(layers[i-1].Reason))
		}
	}
}

func limitText(n int) string {
	if n == 0 {
		return "no limit"
	}
	return fmt.Sprintf("at most %d sessions", n)
}

// says is all that a layer asks for.
func says(l *status.Layer) string {
	var words []string
	if l.Says != "" {
		words = append(words, l.Says)
	}
	if l.Weight != nil {
		words = append(words, fmt.Sprintf("weight %d", *l.Weight))
	}
	if l.Percent != nil {
		words = append(words, fmt.Sprintf("%d%%", *l.Percent))
	}
	if l.MaxSessions != nil && *l.MaxSessions > 0 {
		words = append(words, fmt.Sprintf("max %d", *l.MaxSessions))
	}
	return strings.Join(words, ", ")
}
