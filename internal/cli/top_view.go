package cli

// The screen of weir top as lines of text.

import (
	"fmt"
	"strings"

	"weir/internal/status"
)

// small reports whether lines are so few that only the most important are shown.
func small(height int) bool { return height < 20 }

// draw returns the screen as at most height lines of at most width characters.
func (s *screen) draw(width, height int) []string {
	lines := s.head(width)
	var foot []string
	body := s.serversBody
	switch {
	case s.help:
		body = s.textBody("KEYS", helpLines)
	case s.doc == nil:
		body = func(int, int) []string { return nil }
	case s.view == viewServer:
		body = s.textBody("SERVER", s.serverLines)
	case s.view == viewProblems:
		body = s.textBody("PROBLEMS", s.problemLines)
	case s.view == viewFleet:
		body = s.textBody("FLEET", s.fleetLines)
	default:
		lines = append(lines, s.problemSummary(width, height)...)
		if !small(height) {
			lines = append(lines, "")
			foot = append(foot, s.about(width))
		}
		foot = append(foot, s.palette.render(blue, s.arrangementText(width)))
	}
	foot = append(foot, s.palette.render(bold, s.lastLine(width)))
	lines = append(lines, body(width, max(0, height-len(lines)-len(foot)))...)
	for len(lines) < height-len(foot) {
		lines = append(lines, "")
	}
	lines = append(lines, foot...)
	return lines[:min(len(lines), height)]
}

// head returns the summary of the process, and whether it is old.
func (s *screen) head(width int) []string {
	var lines []string
	switch doc := s.doc; {
	case doc == nil && s.lastError == "":
		return []string{cut("waiting for the first response", width)}
	case doc == nil:
		return []string{s.palette.render(alert, cut("no response yet: "+s.lastError, width))}
	default:
		total := s.rates.total
		version, _, _ := strings.Cut(doc.Version, " ")
		parts := []part{{"weir " + version, 5}, {fmt.Sprintf("%d of %d sessions", doc.Sessions, doc.MaxSessions), 0}}
		if s.rates.known {
			parts = append(parts, part{perSecond(total.sessions) + " new/s", 1}, part{size(uint64(total.up)) + "/s to servers", 2},
				part{size(uint64(total.down)) + "/s to clients", 3})
		} else {
			parts = append(parts, part{"– new/s", 1})
		}
		parts = append(parts, part{"up " + age(doc.UptimeSeconds), 4})
		lines = append(lines, joinParts(parts, ", ", width))
	}
	switch {
	case s.lastError != "":
		lines = append(lines, s.palette.render(alert, cut(fmt.Sprintf("no response since %s, showing old data: %s", moment(s.lostAt), s.lastError), width)))
	case !s.askedAt.IsZero() && s.clock().Sub(s.askedAt) >= 2*topInterval:
		lines = append(lines, s.palette.render(yellow, cut(fmt.Sprintf("no response for %d s, showing old data", int(s.clock().Sub(s.askedAt).Seconds())), width)))
	}
	return lines
}

// problemLine returns a problem in one line. A reason stands after the server that it is of.
func problemLine(p *status.Problem) string {
	text := strings.ToUpper(p.Severity) + "  "
	if p.Cluster != "" {
		text += p.Cluster + ": "
	}
	text += p.Text
	if reason, _, _ := strings.Cut(p.Reason, "\n"); reason != "" {
		if len(p.Servers) > 1 {
			text += "; " + p.Servers[0]
		}
		text += ": " + reason
	}
	return text
}

// problemSummary returns the worst problems, addresses and topologies, in at most about a quarter of the screen.
func (s *screen) problemSummary(width, height int) []string {
	most := max(1, height/4)
	if small(height) {
		most = max(1, height/12)
	}
	var lines []string
	list := s.doc.Problems
	if len(list) == 0 {
		lines = append(lines, s.palette.severity("", cut("no problems", width)))
	}
	for i := range list {
		p := &list[i]
		text := problemLine(p)
		if i == most-1 && len(list) > most {
			more := fmt.Sprintf("%d more problems", len(list)-i)
			if i == 0 { // the only line shows the worst and their number
				more = fmt.Sprintf("1 of %d: %s", len(list), text)
			}
			lines = append(lines, s.palette.severity(p.Severity, cut(more, width)))
			break
		}
		lines = append(lines, s.palette.severity(p.Severity, cut(text, width)))
	}
	if small(height) {
		return lines
	}
	if len(s.doc.VIPs) > 0 && len(lines) < most+1 {
		lines = append(lines, cut(vipsText(s.doc.VIPs), width))
	}
	for i := range s.doc.Clusters {
		c := &s.doc.Clusters[i]
		if c.Topology != nil && len(lines) < most+1 {
			lines = append(lines, cut(c.Name+": "+topologyText(c.Topology), width))
		}
		if c.Closing != nil && len(lines) < most+1 {
			lines = append(lines, cut(c.Name+": "+closingText(c.Closing), width))
		}
	}
	return lines
}

// textBody returns the body of a view of text: a title and the lines that are scrolled to.
func (s *screen) textBody(title string, of func(width int) []string) func(width, room int) []string {
	return func(width, room int) []string {
		all := of(width)
		s.page = max(1, room-1)
		s.scrolled = max(0, min(s.scrolled, len(all)-s.page))
		last := min(len(all), s.scrolled+s.page)
		if len(all) > s.page {
			title += fmt.Sprintf(", lines %d to %d of %d", s.scrolled+1, last, len(all))
		}
		lines := []string{s.palette.render(bold, cut(title, width))}
		for _, l := range all[s.scrolled:last] {
			lines = append(lines, s.paint(cut(l, width)))
		}
		return lines[:min(len(lines), room)]
	}
}

// paint colours a line that begins with a severity.
func (s *screen) paint(line string) string {
	first, _, _ := strings.Cut(line, " ")
	if severity := strings.ToLower(first); first == strings.ToUpper(severity) && severity != "" {
		if _, ok := severityStyles[severity]; ok {
			return s.palette.severity(severity, line)
		}
	}
	return line
}

// about returns the state of the selected server.
func (s *screen) about(width int) string {
	r := s.row()
	if r == nil {
		return ""
	}
	text := fmt.Sprintf("%s at %s: %s", r.name(), r.Address, r.State)
	if r.Role != "" {
		text += ", " + r.Role
	}
	if r.Reason != "" {
		text += ", " + r.Reason
	}
	return cut(text, width)
}

// arrangementText returns how the rows are selected and sorted.
func (s *screen) arrangementText(width int) string {
	by := "by " + orders()[s.order]
	if s.reversed {
		by += " reversed"
	}
	parts := []part{{fmt.Sprintf("%d servers", len(s.rows)), 1}, {by, 2}}
	if s.badOnly {
		parts = append(parts, part{"only servers not up", 3})
	}
	if s.filter != "" || s.typing {
		parts = append(parts, part{"matching " + s.filter, 0})
	}
	return joinParts(parts, ", ", width)
}

// lastLine returns the question, the filter that is edited, the message, or the keys.
func (s *screen) lastLine(width int) string {
	switch {
	case s.pending != nil:
		return cut(s.question(width), width)
	case s.typing:
		return joinParts([]part{{"filter: " + s.filter + "_", 0}, {"(enter: apply, esc: clear)", 1}}, "   ", width)
	case s.clock().Sub(s.messaged) < messageTime:
		return cut(s.message, width)
	}
	return s.keyLine(width)
}
