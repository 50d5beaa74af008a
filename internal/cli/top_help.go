package cli

// The keys of weir top, as help and as the last line of the screen.

import (
	"strings"
	"unicode/utf8"
)

// topKey is a line of the help.
type topKey struct{ keys, text string }

var topKeys = []topKey{
	{"↑ ↓ j k", "select a server, or scroll"},
	{"PgUp PgDn", "a page up or down"},
	{"g G", "the first, the last"},
	{"enter e", "the selected server; ← → the one before or after it"},
	{"esc", "back; in the list: no filter"},
	{"/", "filter by words of name, address, state or reason; !word: without it"},
	{"s S", "sort by the next quantity; reverse the order"},
	{"b", "only servers that are not up or standby"},
	{"p", "all problems"},
	{"f", "the nodes of the fleet"},
	{"d", "drain the selected server"},
	{"m", "maint (asks first)"},
	{"r", "ready"},
	{"z", "reset what operators have set"},
	{"K", "kill its sessions (asks first)"},
	{"^L ^Z", "redraw; suspend"},
	{"q ^C", "quit; q in a view: back"},
	{"?", "these keys"},
}

var topNotes = []string{
	"TO SRV and TO CLI are bytes per second to servers and to clients. FAIL/S are failed dials. MS is the connect time.",
	"A chart has the highest values of intervals of 5 s, the newest on the right: of the quantity in the order, else of sessions.",
	"< marks the level in use.",
}

// helpLines returns the keys, in as many columns as fit.
func helpLines(width int) []string {
	const keyWidth = 11
	columns := max(1, min(2, width/38))
	each := (width - 2*(columns-1)) / columns
	cells := make([][]string, 0, len(topKeys))
	for _, k := range topKeys {
		lines := wrapText(k.text, "", max(1, each-keyWidth))
		for i := range lines {
			if i == 0 {
				lines[i] = fit(k.keys, keyWidth, false) + lines[i]
			} else {
				lines[i] = strings.Repeat(" ", keyWidth) + lines[i]
			}
		}
		cells = append(cells, lines)
	}
	var left, right []string
	total := 0
	for _, c := range cells {
		total += len(c)
	}
	for _, c := range cells {
		if columns == 1 || len(left)+len(c) <= (total+1)/2 && right == nil {
			left = append(left, c...)
		} else {
			right = append(right, c...)
		}
	}
	lines := left
	for i, text := range right {
		if i == len(lines) {
			lines = append(lines, "")
		}
		lines[i] = fit(lines[i], each+2, false) + text
	}
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	lines = append(lines, "")
	for _, n := range topNotes {
		lines = append(lines, wrapText(n, "", width)...)
	}
	return lines
}

// keyLine returns the most useful keys of the view that fit.
func (s *screen) keyLine(width int) string {
	var keys []string
	change := []string{"d drain", "m maint", "r ready", "z reset", "K kill"}
	switch {
	case s.doc == nil:
		keys = []string{"q quit"}
	case s.help:
		keys = []string{"esc back", "↑ ↓ scroll"}
	case s.view == viewServer:
		keys = append([]string{"esc back", "← → others"}, change...)
	case s.view != viewServers:
		keys = []string{"esc back", "↑ ↓ scroll", "? keys"}
	default:
		keys = []string{"q quit", "? keys", "enter open", "/ filter", "s sort"}
		if s.hasFleet() {
			keys = append(keys, "f fleet")
		}
		keys = append(append(keys, "p problems"), change...)
	}
	line := ""
	for _, k := range keys {
		if line != "" {
			k = "  " + k
		}
		if utf8.RuneCountInString(line+k) > width {
			break
		}
		line += k
	}
	return line
}
