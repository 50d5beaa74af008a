package cli

// The table of servers in weir top.

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// topColumn is a column of the table, wide characters wide. Columns with a low rank are shown on narrow screens, too.
type topColumn struct {
	head  string
	wide  int
	rank  int
	right bool
	cell  func(*topRow) string
}

const (
	leastName   = 15
	mostName    = 48
	leastReason = 40
	minInline   = 24 // of a reason in place of the rates
)

// columns returns the columns that fit, CLUSTER/SERVER first. What is left widens the name, the chart and the reason.
func (s *screen) columns(width int) []topColumn {
	rated := func(of func(*topRow) float64, show func(float64) string) func(*topRow) string {
		return func(r *topRow) string {
			if !s.rates.known {
				return "–"
			}
			return show(of(r))
		}
	}
	bytes := func(f float64) string { return size(uint64(f)) }
	longest, state, roles := 0, len("STATE"), false
	for i := range s.rows {
		r := &s.rows[i]
		longest = max(longest, utf8.RuneCountInString(r.cluster)+1+utf8.RuneCountInString(r.server))
		state = max(state, min(10, len(r.State)))
		roles = roles || r.Role != ""
	}
	chart := 6
	if width >= 76 {
		chart = 12
	}
	name := max(leastName, min(longest, width/3, mostName))
	all := []topColumn{
		{"CLUSTER/SERVER", name, 0, false, nil},
		{"LEVEL", 8, 8, false, func(r *topRow) string {
			if r.inUse {
				return cut(r.level, 6) + " <"
			}
			return r.level
		}},
		{"STATE", state, 0, false, func(r *topRow) string { return r.State }},
		{"ROLE", 7, 3, false, func(r *topRow) string { return r.Role }},
		{"WGHT", 4, 9, true, func(r *topRow) string { return fmt.Sprint(r.Weight) }},
		{"SESS", 5, 0, true, func(r *topRow) string { return size(uint64(r.Sessions)) }},
		{"NEW/S", 5, 2, true, rated(func(r *topRow) float64 { return r.rate.sessions }, perSecond)},
		{"TO SRV", 6, 5, true, rated(func(r *topRow) float64 { return r.rate.up }, bytes)},
		{"TO CLI", 6, 5, true, rated(func(r *topRow) float64 { return r.rate.down }, bytes)},
		{"FAIL/S", 6, 6, true, rated(func(r *topRow) float64 { return r.rate.failures }, perSecond)},
		{"MS", 5, 10, true, func(r *topRow) string { return fmt.Sprintf("%.3g", r.ConnectMS) }},
		{"CHART", chart, 1, false, nil},
		{"REASON", leastReason, 11, false, func(r *topRow) string { return r.Reason }},
	}
	if !roles {
		all = slices.DeleteFunc(all, func(c topColumn) bool { return c.head == "ROLE" })
	}
	byRank := slices.Clone(all)
	slices.SortStableFunc(byRank, func(a, b topColumn) int { return a.rank - b.rank })
	left := width + 1
	shown := map[string]bool{}
	for _, c := range byRank {
		if left -= c.wide + 1; left < 0 && c.rank > 0 {
			left += c.wide + 1
			break
		}
		shown[c.head] = true
	}
	list := slices.DeleteFunc(all, func(c topColumn) bool { return !shown[c.head] })
	left = max(0, left)
	give := func(head string, most int) {
		if i := slices.IndexFunc(list, func(c topColumn) bool { return c.head == head }); i >= 0 {
			more := max(0, min(left, most-list[i].wide))
			list[i].wide += more
			left -= more
		}
	}
	give("CLUSTER/SERVER", max(leastName, min(longest, mostName)))
	give("CHART", 24)
	give("REASON", 1000)
	give("CHART", historyPoints)
	for i := range list {
		switch wide := list[i].wide; list[i].head {
		case "CLUSTER/SERVER":
			list[i].cell = func(r *topRow) string { return shortName(r.cluster, r.server, wide) }
		case "CHART":
			list[i].cell = func(r *topRow) string { return s.history.spark(s.history.charted(r.rowKey, s.order), wide) }
		}
	}
	return list
}

// charted returns the points of a server that the table shows: of the quantity that is sorted by, else of sessions.
func (h *history) charted(key rowKey, order int) *points {
	s := h.get(key)
	switch orders()[order] {
	case "new/s":
		return &s.started
	case "bytes/s":
		return &s.bytes
	case "failures/s":
		return &s.failures
	}
	return &s.sessions
}

// serversBody returns the table, scrolled so that the selected row is visible.
func (s *screen) serversBody(width, room int) []string {
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

// line returns a row. Without a column for it, the reason of a server without sessions stands in place of the rates and the chart.
func (s *screen) line(r *topRow, columns []topColumn, width int, selected bool) string {
	reason := r.Reason != "" && r.Sessions == 0 && r.rate.sessions == 0 && columns[len(columns)-1].head != "REASON"
	var b strings.Builder
	left := width
	for i, c := range columns {
		if left <= 0 {
			break
		}
		wide := min(c.wide, left)
		text := ""
		if reason && i > 0 && (c.head == "NEW/S" || c.head == "CHART") {
			if left >= minInline {
				wide = left
				text = fit(r.Reason, wide, false)
			}
			reason = false
		}
		if text == "" {
			text = fit(c.cell(r), wide, c.right)
		}
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
	return strings.TrimRight(b.String(), " ")
}
