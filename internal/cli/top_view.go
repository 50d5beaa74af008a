package cli

// The screen of weir top as lines of text.

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

const topKeys = "d drain  m maint  r ready  z reset  K kill  e explain  s sort  / filter  ? keys  q quit"

// draw returns the screen as at most height lines of at most width characters.
func (s *screen) draw(width, height int) []string {
	lines := s.head(width, height)
	foot := s.foot(width)
	room := max(0, height-len(lines)-len(foot))
	switch {
	case s.help:
		lines = append(lines, clip(strings.Split(topHelp, "\n"), width, room)...)
	case s.explain && s.at < len(s.rows):
		lines = append(lines, clip(s.explanation(), width, room)...)
	default:
		lines = append(lines, s.body(width, room)...)
	}
	for len(lines) < height-len(foot) {
		lines = append(lines, "")
	}
	lines = append(lines, foot...)
	return lines[:min(len(lines), height)]
}

func clip(lines []string, width, room int) []string {
	out := make([]string, 0, room)
	for _, l := range lines[:min(len(lines), room)] {
		out = append(out, cut(l, width))
	}
	return out
}

// head returns the summary of the process and, in at most a quarter of the screen, the problems.
func (s *screen) head(width, height int) []string {
	doc, total := s.doc, "– new/s"
	if s.rates.known {
		total = fmt.Sprintf("%s new/s, %s/s up, %s/s down", perSecond(s.rates.total.sessions), size(uint64(s.rates.total.up)), size(uint64(s.rates.total.down)))
	}
	version, _, _ := strings.Cut(doc.Version, " ")
	lines := []string{cut(fmt.Sprintf("weir %s, up %s, %d of %d sessions, %s", version, age(doc.UptimeSeconds), doc.Sessions, doc.MaxSessions, total), width)}
	if s.lastError != "" {
		lines = append(lines, s.palette.render(alert, cut(fmt.Sprintf("no response since %s, showing old data: %s", moment(s.lostAt), s.lastError), width)))
	}
	most := max(1, height/4)
	if len(doc.Problems) == 0 {
		lines = append(lines, s.palette.severity("", cut("no problems", width)))
	}
	for i, t := range doc.Problems {
		if i == most-1 && len(doc.Problems) > most {
			lines = append(lines, s.palette.severity(t.Severity, cut(fmt.Sprintf("%d more problems", len(doc.Problems)-i), width)))
			break
		}
		text := strings.ToUpper(t.Severity) + "  "
		if t.Cluster != "" {
			text += t.Cluster + ": "
		}
		text += t.Text
		if reason, _, _ := strings.Cut(t.Reason, "\n"); reason != "" {
			text += ": " + reason
		}
		lines = append(lines, s.palette.severity(t.Severity, cut(text, width)))
	}
	if len(doc.VIPs) > 0 && len(lines) < most+2 {
		lines = append(lines, cut(vipsText(doc.VIPs), width))
	}
	for i := range doc.Clusters {
		c := &doc.Clusters[i]
		if c.Topology != nil && len(lines) < most+2 {
			lines = append(lines, cut(c.Name+": "+topologyText(c.Topology), width))
		}
		if c.Closing != nil && len(lines) < most+2 {
			lines = append(lines, cut(c.Name+": "+closingText(c.Closing), width))
		}
	}
	return append(lines, "")
}

// topColumn is a column of the table, wide characters wide.
type topColumn struct {
	head  string
	wide  int
	right bool
	cell  func(*topRow) string
}

func (s *screen) columns(width int) []topColumn {
	rated := func(of func(*topRow) float64, show func(float64) string) func(*topRow) string {
		return func(r *topRow) string {
			if !s.rates.known {
				return "–"
			}
			return show(of(r))
		}
	}
	roles := slices.ContainsFunc(s.rows, func(r topRow) bool { return r.Role != "" })
	names := width - 56
	if roles {
		names -= 8
	}
	bytes := func(f float64) string { return size(uint64(f)) }
	list := []topColumn{
		{"CLUSTER/SERVER", max(12, min(40, names)), false, func(r *topRow) string { return r.name() }},
		{"LEVEL", 8, false, func(r *topRow) string {
			if r.inUse {
				return cut(r.level, 6) + " <"
			}
			return r.level
		}},
		{"STATE", 10, false, func(r *topRow) string { return r.State }},
		{"WGHT", 4, true, func(r *topRow) string { return fmt.Sprint(r.Weight) }},
		{"SESS", 6, true, func(r *topRow) string { return fmt.Sprint(r.Sessions) }},
		{"NEW/S", 5, true, rated(func(r *topRow) float64 { return r.rate.sessions }, perSecond)},
		{"UP/S", 5, true, rated(func(r *topRow) float64 { return r.rate.up }, bytes)},
		{"DOWN/S", 6, true, rated(func(r *topRow) float64 { return r.rate.down }, bytes)},
	}
	if roles {
		list = slices.Insert(list, 3, topColumn{"ROLE", 7, false, func(r *topRow) string { return r.Role }})
	}
	used := len(list)
	for _, c := range list {
		used += c.wide
	}
	if rest := width - used; rest >= 12 {
		list = append(list, topColumn{"REASON", rest, false, func(r *topRow) string { return r.Reason }})
	}
	return list
}

// body returns the table, scrolled so that the selected row is visible.
func (s *screen) body(width, room int) []string {
	columns := s.columns(width)
	var head strings.Builder
	for _, c := range columns {
		head.WriteString(fit(c.head, c.wide, c.right) + " ")
	}
	lines := []string{s.palette.render(bold, cut(strings.TrimRight(head.String(), " "), width))}
	s.page = max(1, room-1)
	s.first = max(0, min(s.first, len(s.rows)-s.page, s.at))
	s.first = max(s.first, s.at-s.page+1)
	for i := s.first; i < min(len(s.rows), s.first+s.page); i++ {
		lines = append(lines, s.line(&s.rows[i], columns, width, i == s.at))
	}
	if len(s.rows) == 0 {
		lines = append(lines, cut("no matching server", width))
	}
	return lines[:min(len(lines), room)]
}

func (s *screen) line(r *topRow, columns []topColumn, width int, selected bool) string {
	var b strings.Builder
	left := width
	for _, c := range columns {
		if left <= 0 {
			break
		}
		text := fit(c.cell(r), min(c.wide, left), c.right)
		left -= utf8.RuneCountInString(text) + 1
		if c.head == "STATE" && !selected {
			text = s.palette.state(text)
		}
		b.WriteString(text)
		if left > 0 {
			b.WriteByte(' ')
		}
	}
	if selected {
		return reverse.Render(b.String())
	}
	return b.String()
}

// foot returns the state of the selected server, the settings of the table, and the question, message or keys.
func (s *screen) foot(width int) []string {
	about, last := "", topKeys
	if s.at < len(s.rows) {
		r := &s.rows[s.at]
		about = fmt.Sprintf("%s at %s: %s", r.name(), r.Address, r.State)
		if r.Role != "" {
			about += ", " + r.Role
		}
		if r.Reason != "" {
			about += ", " + r.Reason
		}
	}
	view := []string{fmt.Sprintf("%d servers", len(s.rows)), "by " + orders()[s.order]}
	if s.badOnly {
		view = append(view, "only servers not up")
	}
	if s.filter != "" || s.typing {
		view = append(view, "matching "+s.filter)
	}
	switch {
	case s.pending != nil:
		last = s.question()
	case s.typing:
		last = "filter: " + s.filter + "_   (enter: apply, esc: clear)"
	case time.Since(s.messaged) < messageTime:
		last = s.message
	}
	return []string{cut(about, width), s.palette.render(blue, cut(strings.Join(view, ", "), width)), s.palette.render(bold, cut(last, width))}
}

// explanation returns the layers of the selected server.
func (s *screen) explanation() []string {
	r := &s.rows[s.at]
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s: %s since %s, %d sessions of %d, %d of %d dials failed\n\n", r.name(), r.State, moment(r.Since), r.Sessions, r.SessionsTotal, r.DialFailures, r.Dials)
	showLayers(&b, r.Layers)
	b.WriteString("\nesc: back")
	return strings.Split(b.String(), "\n")
}

// fit cuts or pads text to wide characters.
func fit(text string, wide int, right bool) string {
	text = cut(text, wide)
	pad := strings.Repeat(" ", max(0, wide-utf8.RuneCountInString(text)))
	if right {
		return pad + text
	}
	return text + pad
}

// perSecond formats a rate in at most five characters.
func perSecond(f float64) string {
	if f < 9.95 {
		return fmt.Sprintf("%.1f", f)
	}
	return size(uint64(f + 0.5))
}
