package cli

// weir status: the status document as tables.

import (
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
	return &cobra.Command{
		Use: "status [CLUSTER]", Short: "Show listeners, clusters, servers and their states", Args: cobra.MaximumNArgs(1),
		ValidArgsFunction: completeClusters(flags),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				return request(cmd, flags, http.MethodGet, path("v1", "clusters", args[0]), nil, func(w io.Writer, c status.Cluster) {
					showCluster(w, &c, math.MaxInt)
					showLegend(w, []status.Cluster{c})
				})
			}
			return request(cmd, flags, http.MethodGet, "/v1/status", nil, showStatus)
		},
	}
}

func showStatus(w io.Writer, doc status.Document) {
	fmt.Fprintf(w, "weir %s, pid %d, up %s, %d of %d sessions\n", doc.Version, doc.PID, age(doc.UptimeSeconds), doc.Sessions, doc.MaxSessions)
	fmt.Fprintln(w, cut(fmt.Sprintf("configuration %s loaded %s", doc.Config.File, moment(doc.Config.LoadedAt)), widthOf(w)))
	fmt.Fprintln(w)
	showProblems(w, doc.Problems)
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
	showVIPs(w, &doc)
	showRoutes(w, doc.Listeners)
	affected := make(map[string]bool)
	for _, t := range doc.Problems {
		affected[t.Cluster] = affected[t.Cluster] || t.Severity != status.Note
	}
	for _, now := range []bool{true, false} { // those with problems first
		for i := range doc.Clusters {
			if c := &doc.Clusters[i]; affected[c.Name] == now {
				fmt.Fprintln(w)
				showCluster(w, c, maxServersShown)
			}
		}
	}
	showHooks(w, doc.Hooks)
	showLegend(w, doc.Clusters)
}

// showRoutes prints the routes of listeners, once for each listener.
func showRoutes(w io.Writer, listeners []status.Listener) {
	t := columns("LISTENER", "ROUTE", "CONDITIONS", "CLUSTER", ">TOTAL")
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

// showProblems writes each problem in one line and its reason in another.
func showProblems(w io.Writer, problems []status.Problem) {
	k, width := paletteFor(w), widthOf(w)
	if len(problems) == 0 {
		fmt.Fprintln(w, k.severity("", "no problems"))
	}
	for i, t := range problems {
		if i == maxProblems {
			fmt.Fprintf(w, "%d more problems; --json shows all\n", len(problems)-i)
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
		if t.Cluster == "" && width < math.MaxInt {
			most = configErrorLines * width
		}
		for line := range strings.SplitSeq(t.Reason, "\n") {
			if line != "" {
				fmt.Fprintln(w, cut("  "+line, most))
			}
		}
	}
}

// maxProblems is the number of problems shown. The worst come first.
const maxProblems = 12

// configErrorLines bounds an error in the configuration. Its position is worth several terminal lines.
const configErrorLines = 4

// maxServersShown is the size up to which weir status shows all servers of a cluster. Of larger clusters it shows only
// servers that are not up.
const maxServersShown = 16

// showCluster prints the table of a cluster. If it has more than most servers, those that are up are only counted.
func showCluster(w io.Writer, c *status.Cluster, most int) {
	head := []string{c.Balance}
	switch {
	case c.Level == "":
		head = append(head, "no level in use")
	default:
		head = append(head, "level "+c.Level+" in use")
	}
	if c.Held {
		head = append(head, "failback is manual: a better level is ready")
	}
	if c.Empty {
		head = append(head, "no server is healthy")
	}
	if c.Queue > 0 {
		head = append(head, fmt.Sprintf("%d sessions queued", c.Queue))
	}
	if c.HeldSessions > 0 {
		head = append(head, fmt.Sprintf("%d sessions held", c.HeldSessions))
	}
	if c.Origin == status.OriginAPI {
		head = append(head, "created at run time")
	}
	fmt.Fprintln(w, cut(c.Name+": "+strings.Join(head, ", "), widthOf(w)))
	if c.Closing != nil {
		fmt.Fprintln(w, cut("  "+closingText(c.Closing), widthOf(w)))
	}
	showTopology(w, c.Topology)
	for i := range c.Levels {
		if d := c.Levels[i].Discovery; d != nil {
			fmt.Fprintln(w, cut("  level "+c.Levels[i].Name+": "+discoveryText(d), widthOf(w)))
		}
	}
	servers := 0
	for i := range c.Levels {
		servers += len(c.Levels[i].Servers)
	}
	t := columns("LEVEL", "!", "SERVER", "STATE", "ROLE", ">WEIGHT", ">SESSIONS", "REASON")
	t.paint[3] = paletteFor(w).state
	for _, l := range c.Levels {
		name := l.Name
		if l.InUse {
			name += " <"
		}
		if len(l.Servers) == 0 {
			t.row(name, "", "(none)", "", "", "", "", "")
		}
		up, sessions := 0, 0
		for i := range l.Servers {
			s := &l.Servers[i]
			if servers > most && s.State == "up" {
				up++
				sessions += s.Sessions
				continue
			}
			t.row(name, marks(s), s.Name, s.State, s.Role, s.Weight, s.Sessions, serverReason(s))
			name = ""
		}
		if up > 0 {
			t.row(name, "", fmt.Sprintf("(%d of %d)", up, len(l.Servers)), "up", "", "", sessions, "for all: weir status "+c.Name)
		}
	}
	t.print(w, "  ")
	if len(c.Removed) > 0 {
		fmt.Fprintln(w, "  removed at run time:", strings.Join(c.Removed, ", "))
	}
}

// closingText describes the progress of closing sessions.
func closingText(c *status.Closing) string {
	text := fmt.Sprintf("closing %d of %d, %d quiet closes, %d forced (%s)", c.Left, c.Total, c.Quiet, c.Forced, strings.ReplaceAll(strings.Join(c.Causes, ", "), "_", " "))
	if c.Deadline != nil {
		text += ", deadline " + moment(*c.Deadline)
	}
	return text
}

// serverReason returns the reason of a server's state, with the deadline of a drain.
func serverReason(s *status.Server) string {
	if s.Deadline == nil {
		return s.Reason
	}
	return s.Reason + ", until " + moment(*s.Deadline)
}

// topologyText describes the decision of a topology: the primary, its source and its age.
func topologyText(t *status.Topology) string {
	text := "no primary"
	if t.Primary != "" {
		text = "primary " + t.Primary
	}
	if t.Source != "" {
		text += " (" + t.Source + ")"
	}
	switch {
	case t.DecidedAt == nil:
		text += ", no decision yet"
	case t.AgeSeconds > 0:
		text += ", for " + age(t.AgeSeconds)
	}
	if t.GTID != "" {
		text += ", GTID " + t.GTID
	}
	if t.StaleSince != nil {
		text += ", stale since " + moment(*t.StaleSince)
	}
	if t.WithoutRole > 0 {
		text += fmt.Sprintf(", %d sessions on servers that have lost the role", t.WithoutRole)
	}
	return text
}

// showTopology prints the decision of a topology, and the members that are not servers of the cluster or cannot be used.
func showTopology(w io.Writer, t *status.Topology) {
	if t == nil {
		return
	}
	fmt.Fprintln(w, cut("  "+topologyText(t), widthOf(w)))
	if t.Problem != "" {
		fmt.Fprintln(w, cut("  topology: "+t.Problem, widthOf(w)))
	}
	for i, m := range slices.DeleteFunc(slices.Clone(t.Members), func(m status.Member) bool { return m.Problem == "" }) {
		if i == maxServersShown {
			fmt.Fprintln(w, "  more members are not usable; --json shows all")
			break
		}
		name := m.Address
		if m.Server != "" {
			name = m.Server
		}
		fmt.Fprintln(w, cut(fmt.Sprintf("  %s %s: %s", m.Role, name, m.Problem), widthOf(w)))
	}
}

// marks returns * for a server with an override and + for one that was added at run time.
func marks(s *status.Server) string {
	text := ""
	switch s.Origin {
	case status.OriginAPI:
		text += "+"
	case status.OriginTopology, status.OriginDiscovery:
		text += "^"
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
		fmt.Fprintln(w, "* an operator has overridden state, weight or max_sessions; see weir explain")
	}
	if strings.Contains(all, "+") {
		fmt.Fprintln(w, "+ added at run time")
	}
	if strings.Contains(all, "^") {
		fmt.Fprintln(w, "^ found by the topology or a provider; see weir discover")
	}
}
