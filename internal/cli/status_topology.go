package cli

// The topology of a cluster and the progress of closing its sessions, in weir status.

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"weir/internal/status"
)

// closingText describes the progress of closing sessions.
func closingText(c *status.Closing) string {
	text := fmt.Sprintf("closing %d of %d, %d quiet closes, %d forced (%s)", c.Left, c.Total, c.Quiet, c.Forced, strings.ReplaceAll(strings.Join(c.Causes, ", "), "_", " "))
	if c.Deadline != nil {
		text += ", deadline " + moment(*c.Deadline)
	}
	return text
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
	printText(w, "  "+topologyText(t), 4)
	if t.Problem != "" {
		printText(w, "  topology: "+t.Problem, 4)
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
		printText(w, fmt.Sprintf("  %s %s: %s", m.Role, name, m.Problem), 4)
	}
}
