package cli

// Tables, and what happens to them on a narrow terminal.

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// table is rows of text under a head.
type table struct {
	columns []column
	rows    [][]cell
}

// column is the head of a column, and what happens to it if the table is too wide.
type column struct {
	head  string
	right bool // a number
	fit   fitting
	paint func(string) string // nil = plain
}

// fitting is what happens to a column if the table is too wide.
type fitting uint8

const (
	shrinks    fitting = iota // it is cut, the widest first
	isWhole                   // nothing
	isName                    // the cluster in CLUSTER/SERVER is cut; if that is not enough, the rest of the row moves to the next line
	isNote                    // it is cut before all others, and then moves below the row
	isOptional                // it is left out
)

// cell is one text of a table.
type cell struct {
	text    string
	cluster int // number of characters at its beginning that name a cluster
}

// serverName is a cell with CLUSTER/SERVER.
type serverName struct{ cluster, server string }

// cell returns CLUSTER/SERVER, or CLUSTER while there is no server.
func (n serverName) cell() cell {
	text := plain(n.cluster)
	c := cell{text, utf8.RuneCountInString(text)}
	if n.server != "" {
		c.text += "/" + plain(n.server)
	}
	return c
}

// columns returns an empty table. The prefix > marks a column of numbers, ! one that is never cut, such as an argument for
// other commands, @ one of names, ~ one of notes and ? one that can be left out. A table has at most one column of names and one of notes, the last.
func columns(heads ...string) *table {
	t := &table{}
	for _, h := range heads {
		c := column{head: strings.TrimLeft(h, ">!@~?")}
		for _, mark := range h[:len(h)-len(c.head)] {
			switch mark {
			case '>':
				c.right, c.fit = true, isWhole
			case '!':
				c.fit = isWhole
			case '@':
				c.fit = isName
			case '~':
				c.fit = isNote
			case '?':
				c.fit = isOptional
			}
		}
		t.columns = append(t.columns, c)
	}
	return t
}

// painted sets the colours of a column.
func (t *table) painted(head string, paint func(string) string) {
	for i := range t.columns {
		if t.columns[i].head == head {
			t.columns[i].paint = paint
		}
	}
}

func (t *table) row(cells ...any) {
	row := make([]cell, len(cells))
	for i, c := range cells {
		switch c := c.(type) {
		case string:
			row[i].text = plain(c)
		case serverName:
			row[i] = c.cell()
		default:
			row[i].text = plain(fmt.Sprint(c))
		}
	}
	t.rows = append(t.rows, row)
}

// Minimum widths of what is cut.
const (
	minColumn  = 8
	minNote    = 24
	minCluster = 6 // of CLUSTER/SERVER
)

// print writes the table without empty columns, in the width of w.
func (t *table) print(w io.Writer, margin string) { t.printWithin(w, margin, widthOf(w)) }

// printWithin is print for a given width.
func (t *table) printWithin(w io.Writer, margin string, width int) {
	widths := t.widths(len(margin), width)
	heads := make([]cell, len(t.columns))
	for i, c := range t.columns {
		heads[i].text = c.head
	}
	t.printRow(w, margin, heads, widths, width, true)
	for _, row := range t.rows {
		t.printRow(w, margin, row, widths, width, false)
	}
}

// removed is the width of a column that is not printed, with its gap.
const removed = -2

// layout is the widths of the columns of a table.
type layout struct {
	*table
	widths []int
	over   int // how much the table is too wide
}

// widths returns the widths of the columns of the table in a given width. If the table is too wide, notes are cut,
// then moved below their rows, then clusters of names and other texts are cut, then optional columns are left out. If that is
// not enough, rows are broken after their name.
func (t *table) widths(margin, width int) []int {
	l := layout{table: t, widths: make([]int, len(t.columns)), over: margin - 2 - width}
	for i, c := range t.columns {
		empty := len(t.rows) > 0
		l.widths[i] = utf8.RuneCountInString(c.head)
		for _, row := range t.rows {
			empty = empty && row[i].text == ""
			l.widths[i] = max(l.widths[i], utf8.RuneCountInString(row[i].text))
		}
		if empty {
			l.widths[i] = removed
		}
		l.over += l.widths[i] + 2
	}
	whole := slices.Clone(l.widths)
	if l.shrink(isNote, func(int) int { return minNote }); l.over <= 0 {
		return l.widths
	}
	l.remove(isNote)
	l.shrink(isName, l.leastName)
	l.shrink(shrinks, func(int) int { return minColumn })
	if l.remove(isOptional); l.over <= 0 {
		return l.widths
	}
	for i, c := range t.columns { // names go to lines of their own, which leaves room for the others
		n := whole[i]
		switch c.fit {
		case isName:
			n = utf8.RuneCountInString(c.head)
		case isNote:
			n = removed
		}
		l.over += n - l.widths[i]
		l.widths[i] = n
	}
	l.shrink(shrinks, func(int) int { return minColumn })
	l.remove(isOptional)
	for i, c := range t.columns {
		if c.fit == isName && l.over < 0 {
			l.widths[i] -= l.over
		}
	}
	return l.widths
}

// shrink cuts the widest column of a kind until the table fits or all have their least width.
func (l *layout) shrink(kind fitting, least func(column int) int) {
	for l.over > 0 {
		widest := -1
		for i, n := range l.widths {
			if l.columns[i].fit == kind && n > least(i) && (widest < 0 || n > l.widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			return
		}
		l.widths[widest]--
		l.over--
	}
}

// remove removes the columns of a kind if the table is too wide.
func (l *layout) remove(kind fitting) {
	tooWide := l.over > 0
	for i, c := range l.columns {
		if c.fit == kind && tooWide && l.widths[i] > 0 {
			l.over -= l.widths[i] + 2
			l.widths[i] = removed
		}
	}
}

// leastName returns the width of a column of names whose clusters are cut.
func (l *layout) leastName(column int) int {
	least := utf8.RuneCountInString(l.columns[column].head)
	for _, row := range l.rows {
		least = max(least, utf8.RuneCountInString(row[column].within(0)))
	}
	return least
}

// printRow prints one row. A name that is wider than its column takes the rest of its line, and the row goes on in the next.
func (t *table) printRow(w io.Writer, margin string, row []cell, widths []int, width int, isHead bool) {
	var line strings.Builder
	line.WriteString(margin)
	column := len(margin)
	note := ""
	for i, c := range row {
		kind := t.columns[i]
		if kind.fit == isNote && widths[i] < 0 && !isHead {
			note = c.text
		}
		if widths[i] < 0 {
			continue
		}
		if column > len(margin) {
			line.WriteString("  ")
			column += 2
		}
		text := c.text
		if kind.fit == isName {
			text = c.within(widths[i])
			if utf8.RuneCountInString(text) > widths[i] {
				line.WriteString(c.within(width - column))
				fmt.Fprintln(w, line.String())
				line.Reset()
				line.WriteString(strings.Repeat(" ", column))
				text = ""
			}
		}
		text = fit(text, widths[i], kind.right)
		if kind.paint != nil && !isHead {
			text = kind.paint(text)
		}
		line.WriteString(text)
		column += widths[i]
	}
	fmt.Fprintln(w, strings.TrimRight(line.String(), " "))
	if note != "" {
		printWrapped(w, margin+"    "+note, len(margin)+4, width, noteLines)
	}
}

// noteLines bounds a note below its row.
const noteLines = 2

// within returns the text with the cluster cut so that it has at most n characters, or longer if only the server is left.
func (c cell) within(n int) string {
	text := []rune(c.text)
	over := len(text) - n
	if over <= 0 || c.cluster <= minCluster {
		return c.text
	}
	keep := max(minCluster-1, c.cluster-over-1)
	return string(text[:keep]) + "…" + string(text[c.cluster:])
}
