package cli

// The views of one server and of the problems in weir top.

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"weir/internal/status"
)

// serverSessions are the sessions of the server that is shown.
type serverSessions struct {
	of    rowKey
	list  []status.Session
	known bool   // the API has supplied list
	err   string // of the latest request
}

// maxTopSessions is the number of sessions shown of a server.
const maxTopSessions = 20

// showSessions replaces the sessions of a server.
func (s *screen) showSessions(of rowKey, list []status.Session, err error) {
	if of != s.selected {
		return // the operator has gone on
	}
	if err != nil {
		s.sessions.err = err.Error()
		return
	}
	s.sessions = serverSessions{of: of, list: list, known: true}
}

// serverLines returns everything about the selected server.
func (s *screen) serverLines(width int) []string {
	r := s.row()
	if r == nil {
		return nil
	}
	state := fmt.Sprintf("%s for %s", r.State, s.since(r.Since))
	if r.Deadline != nil {
		state += fmt.Sprintf(", its sessions end within %s", age(max(0, r.Deadline.Sub(s.now()).Seconds())))
	}
	lines := wrapText(fmt.Sprintf("%s at %s: %s", r.name(), r.Address, state), "  ", width)
	if r.Reason != "" {
		lines = append(lines, wrapText(r.Reason, "  ", width)...)
	}
	level := "level " + r.level
	if r.inUse {
		level += " in use"
	}
	parts := []string{level, fmt.Sprintf("weight %d (%.3g in effect)", r.Weight, r.EffectiveWeight), limitText(r.MaxSessions)}
	if r.Part != nil {
		parts = append(parts, fmt.Sprintf("%d of them on this node", *r.Part))
	}
	if r.Role != "" {
		parts = append(parts, r.Role)
	}
	if r.Origin != "" && r.Origin != status.OriginFile {
		parts = append(parts, "from "+r.Origin)
	}
	if r.NotChecked != "" {
		parts = append(parts, "not checked: "+r.NotChecked)
	}
	lines = append(lines, wrapText(strings.Join(parts, ", "), "  ", width)...)
	lines = append(lines, "")
	lines = append(lines, s.charts(r, width)...)
	totals := fmt.Sprintf("%d sessions in all, at most %d at once, %s bytes to the server, %s to clients; %d of %d dials failed, %d retries",
		r.SessionsTotal, r.SessionsPeak, size(r.BytesUp), size(r.BytesDown), r.DialFailures, r.Dials, r.Retries)
	if r.ConnectMS > 0 {
		totals += ", connects in " + milliseconds(r.ConnectMS)
	}
	lines = append(lines, wrapText(totals, "  ", width)...)
	if c := r.LastCheck; c != nil {
		result := "failed"
		if c.Passed {
			result = "passed"
		}
		lines = append(lines, wrapText(fmt.Sprintf("check %s %s %s ago in %s; %d checks failed", c.Check, result, s.since(c.At), milliseconds(c.DurationMS), r.CheckFailures), "  ", width)...)
	}
	lines = append(lines, "")
	for i := range r.Layers {
		lines = append(lines, s.layerLines(&r.Layers[i], width)...)
	}
	lines = append(lines, "")
	return append(lines, s.sessionLines(width)...)
}

// charts returns the last minutes of the server, each quantity in a line.
func (s *screen) charts(r *topRow, width int) []string {
	series := s.history.get(r.rowKey)
	const label, value = 12, 6
	n := min(historyPoints, width-label-value-2)
	if n < 6 {
		return nil
	}
	var lines []string
	chart := func(name, now string, p *points, show func(float64) string) {
		line := fit(name, label, false) + fit(now, value, true) + "  " + s.history.spark(p, n)
		peak := "  peak " + show(p.most(s.history.interval, n))
		if utf8.RuneCountInString(line+peak) <= width {
			line += peak
		}
		lines = append(lines, line)
	}
	rated := func(f float64, show func(float64) string) string {
		if !s.rates.known {
			return "–"
		}
		return show(f)
	}
	bytes := func(f float64) string { return size(uint64(f)) }
	chart("sessions", fmt.Sprint(r.Sessions), &series.sessions, func(f float64) string { return fmt.Sprint(int(f)) })
	chart("new/s", rated(r.rate.sessions, perSecond), &series.started, perSecond)
	chart("bytes/s", rated(r.rate.up+r.rate.down, bytes), &series.bytes, bytes)
	chart("failures/s", rated(r.rate.failures, perSecond), &series.failures, perSecond)
	return lines
}

// layerLines returns a layer of a server's state and its reason. > marks the one that decides.
func (s *screen) layerLines(l *status.Layer, width int) []string {
	text := "  "
	if l.Decides {
		text = "> "
	}
	text += l.Layer + " (" + l.By + ")"
	if value := layerValue(l); value != "" {
		text += ": " + value
	}
	if l.At != nil {
		text += ", set " + s.since(*l.At) + " ago"
	}
	if l.Until != nil {
		text += ", ends in " + age(max(0, l.Until.Sub(s.now()).Seconds()))
	}
	lines := wrapText(text[2:], "    ", width-2)
	for i := range lines {
		lines[i] = "  " + lines[i]
	}
	lines[0] = text[:2] + strings.TrimLeft(lines[0], " ")
	if l.Reason != "" {
		for _, line := range wrapText(l.Reason, "", width-6) {
			lines = append(lines, "      "+line)
		}
	}
	return lines
}

// sessionLines returns the sessions of the server, the first ones.
func (s *screen) sessionLines(width int) []string {
	switch {
	case s.sessions.err != "":
		return wrapText("sessions: "+s.sessions.err, "  ", width)
	case !s.sessions.known || s.sessions.of != s.selected:
		return []string{"sessions: waiting for a response"}
	case len(s.sessions.list) == 0:
		return []string{"no sessions"}
	}
	t := columns("!SESSION", "CLIENT", "PHASE", ">AGE", ">TO SRV", ">TO CLI")
	for _, x := range s.sessions.list[:min(len(s.sessions.list), maxTopSessions)] {
		t.row(x.ID, x.Client, x.Phase, age(x.AgeSeconds), size(x.BytesUp), size(x.BytesDown))
	}
	var b strings.Builder
	t.printWithin(&b, "", width)
	lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	if r := s.row(); len(s.sessions.list) > maxTopSessions && r != nil {
		lines = append(lines, fmt.Sprintf("and more: weir sessions --cluster %s --server %s", r.cluster, r.server))
	}
	return lines
}

// problemLines returns all problems. Each server that a problem names has its own reason.
func (s *screen) problemLines(width int) []string {
	if len(s.doc.Problems) == 0 {
		return []string{"no problems"}
	}
	var lines []string
	for i := range s.doc.Problems {
		p := &s.doc.Problems[i]
		text := strings.ToUpper(p.Severity) + "  "
		if p.Cluster != "" {
			text += p.Cluster + ": "
		}
		text += p.Text
		if p.Since != nil {
			text += ", for " + s.since(*p.Since)
		}
		lines = append(lines, wrapText(text, "  ", width)...)
		if len(p.Servers) < 2 {
			for line := range strings.Lines(p.Reason) {
				lines = append(lines, indented(line, width)...)
			}
			continue
		}
		for _, name := range p.Servers {
			if reason := s.reasonOf(p.Cluster, name); reason != "" {
				lines = append(lines, indented(name+": "+reason, width)...)
			}
		}
	}
	return lines
}

// indented wraps text with a margin.
func indented(text string, width int) []string {
	lines := wrapText(text, "  ", width-4)
	for i := range lines {
		lines[i] = "    " + lines[i]
	}
	return lines
}

// reasonOf returns the reason of a server's state.
func (s *screen) reasonOf(cluster, name string) string {
	for i := range s.doc.Clusters {
		c := &s.doc.Clusters[i]
		if c.Name != cluster {
			continue
		}
		for j := range c.Levels {
			list := c.Levels[j].Servers
			if k := slices.IndexFunc(list, func(x status.Server) bool { return x.Name == name }); k >= 0 {
				return list[k].Reason
			}
		}
	}
	return ""
}
