package cli

// A cluster in weir status.

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"weir/internal/status"
)

// maxServersShown is the size up to which weir status shows all servers of a cluster. Of larger clusters it shows only
// servers that are not up; on a terminal, at most maxNotUp of them.
const (
	maxServersShown = 16
	maxNotUp        = 40
)

// maxRowsInFull is the number of rows of clusters without problems up to which weir status shows their servers.
const maxRowsInFull = 200

// showClusters prints the clusters, those with problems first.
func showClusters(w io.Writer, doc *status.Document, all bool) {
	affected := make(map[string]bool)
	for _, t := range doc.Problems {
		affected[t.Cluster] = affected[t.Cluster] || t.Severity != status.Note
	}
	most, rows := maxServersShown, 0
	for i := range doc.Clusters {
		if c := &doc.Clusters[i]; !affected[c.Name] {
			rows += min(most, sizeOf(c))
		}
	}
	if all {
		most = math.MaxInt
	}
	short := columns("@CLUSTER", "~SERVERS", "!LEVEL", "BALANCE", ">SESSIONS")
	for _, now := range []bool{true, false} {
		for i := range doc.Clusters {
			c := &doc.Clusters[i]
			switch {
			case affected[c.Name] != now:
			case now || all || rows <= maxRowsInFull:
				fmt.Fprintln(w)
				showCluster(w, c, most)
			default:
				short.row(c.Name, serversText(c), c.Level, c.Balance, c.Sessions)
			}
		}
	}
	if len(short.rows) > 0 {
		fmt.Fprintln(w)
		short.print(w, "")
	}
}

// sizeOf returns the number of servers in the levels of a cluster.
func sizeOf(c *status.Cluster) int {
	n := 0
	for i := range c.Levels {
		n += len(c.Levels[i].Servers)
		if o := c.Levels[i].Omitted; o != nil {
			n += o.Servers
		}
	}
	return n
}

// serversText counts the servers of a cluster by state: 20 of 200 servers down. A server in several levels counts once.
func serversText(c *status.Cluster) string {
	states, seen, servers := map[string]int{}, map[string]bool{}, 0
	for i := range c.Levels {
		if o := c.Levels[i].Omitted; o != nil {
			states["up"] += o.Servers
			servers += o.Servers
		}
		for j := range c.Levels[i].Servers {
			if s := &c.Levels[i].Servers[j]; !seen[s.Name] {
				seen[s.Name] = true
				states[s.State]++
				servers++
			}
		}
	}
	all := fmt.Sprintf("%d servers", servers)
	if servers == 1 {
		all = "1 server"
	}
	switch {
	case servers == 0:
		return "no servers"
	case states["up"] == servers:
		return all + " up"
	}
	var parts []string
	for _, state := range []string{"down", "failing", "unresolved", "unstable", "full", "probation", "drain", "maint", "standby"} {
		if n := states[state]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, state))
		}
	}
	first, state, _ := strings.Cut(parts[0], " ")
	parts[0] = first + " of " + all + " " + state
	return strings.Join(parts, ", ")
}

// showCluster prints the table of a cluster. If it has more than most servers, those that are up are only counted.
func showCluster(w io.Writer, c *status.Cluster, most int) {
	head := []string{serversText(c), c.Balance}
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
	printText(w, c.Name+": "+strings.Join(head, ", "), 2)
	if c.Closing != nil {
		printText(w, "  "+closingText(c.Closing), 4)
	}
	showTopology(w, c.Topology)
	for i := range c.Levels {
		if d := c.Levels[i].Discovery; d != nil {
			printText(w, "  level "+c.Levels[i].Name+": "+discoveryText(d), 4)
		}
	}
	showServers(w, c, most)
	if len(c.Removed) > 0 {
		printWrapped(w, "  removed at run time: "+strings.Join(c.Removed, ", "), 4, widthOf(w), math.MaxInt)
	}
}

// showServers prints the servers of a cluster. If it has more than most, those that are up are only counted.
func showServers(w io.Writer, c *status.Cluster, most int) {
	short, shown := sizeOf(c) > most, 0
	t := columns("LEVEL", "!", "!", "@SERVER", "!STATE", "!ROLE", ">WEIGHT", ">SESSIONS", "~REASON")
	t.painted("STATE", paletteFor(w).state)
	for _, l := range c.Levels {
		name, inUse := l.Name, ""
		if l.InUse {
			inUse = "<"
		}
		add := func(marks, server, state, role string, weight, sessions any, reason string) {
			t.row(name, inUse, marks, server, state, role, weight, sessions, reason)
			name, inUse = "", ""
		}
		up, sessions, more, moreSessions := 0, 0, 0, 0
		if l.Omitted != nil {
			up, sessions = l.Omitted.Servers, l.Omitted.Sessions
		}
		all := len(l.Servers) + up
		if all == 0 {
			add("", "(none)", "", "", "", "", "")
		}
		for i := range l.Servers {
			s := &l.Servers[i]
			switch {
			case short && s.State == "up":
				up++
				sessions += s.Sessions
			case short && shown >= maxNotUp && widthOf(w) < math.MaxInt:
				more++
				moreSessions += s.Sessions
			default:
				shown++
				add(marks(s), s.Name, s.State, s.Role, s.Weight, s.Sessions, serverReason(s))
			}
		}
		if more > 0 {
			add("", fmt.Sprintf("(%d more)", more), "not up", "", "", moreSessions, "")
		}
		if up > 0 {
			add("", fmt.Sprintf("(%d of %d)", up, all), "up", "", "", sessions, "weir status --all")
		}
	}
	t.print(w, "  ")
}

// showWork prints how long each server is in its state, its checks, sessions and dials.
func showWork(w io.Writer, c *status.Cluster) {
	fmt.Fprintf(w, "\n  %d sessions, %d queued, %d held\n", c.Sessions, c.Queue, c.HeldSessions)
	now, seen := nowOf(w), map[string]bool{}
	t := columns("@SERVER", "?ADDRESS", ">FOR", ">CHECKED", ">TOOK", ">FAILED", ">PEAK", ">LIMIT", ">DIAL ERRORS", ">RETRIES")
	for _, l := range c.Levels {
		for i := range l.Servers {
			s := &l.Servers[i]
			if seen[s.Name] {
				continue
			}
			seen[s.Name] = true
			address, checked, took, failed, limit := s.Address, "", "", "", "-"
			if address == s.Name {
				address = ""
			}
			if check := s.LastCheck; check != nil {
				checked, took = age(max(0, now.Sub(check.At).Seconds())), milliseconds(check.DurationMS)
				failed = fmt.Sprint(s.CheckFailures)
			}
			if s.MaxSessions > 0 {
				limit = fmt.Sprint(s.MaxSessions)
			}
			t.row(s.Name, address, age(max(0, now.Sub(s.Since).Seconds())), checked, took, failed, s.SessionsPeak, limit, s.DialFailures, s.Retries)
		}
	}
	t.print(w, "  ")
	printText(w, "  FOR: time in the state; CHECKED: time since the last check; TOOK: its duration; FAILED: failed checks; PEAK: most sessions at once; LIMIT: max_sessions", 2)
}

// serverReason returns the reason of a server's state, with the deadline of a drain.
func serverReason(s *status.Server) string {
	if s.Deadline == nil {
		return s.Reason
	}
	return s.Reason + ", until " + moment(*s.Deadline)
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
