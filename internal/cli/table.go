package cli

import (
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/term"
)

// minWidth is the smallest width that is assumed of a terminal.
const minWidth = 40

// widthOf returns the width of a terminal. Other writers have no limit, so that nothing is cut for a program that reads it.
func widthOf(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok {
		return math.MaxInt
	}
	width, _, err := term.GetSize(int(f.Fd()))
	switch {
	case err != nil:
		return math.MaxInt
	case width == 0: // a serial line without a size
		return 80
	}
	return max(width, minWidth)
}

// table is rows of text under a head.
type table struct {
	head  []string
	right map[int]bool                // columns of numbers, right-aligned
	whole map[int]bool                // columns that are never cut, such as arguments for other commands
	paint map[int]func(string) string // colours of columns
	rows  [][]string
}

// columns returns an empty table. The prefix > marks a column of numbers, ! one that is never cut.
func columns(heads ...string) *table {
	t := &table{right: map[int]bool{}, whole: map[int]bool{}, paint: map[int]func(string) string{}}
	for i, h := range heads {
		for strings.HasPrefix(h, ">") || strings.HasPrefix(h, "!") {
			t.right[i] = t.right[i] || h[0] == '>'
			t.whole[i] = true // numbers are never cut
			h = h[1:]
		}
		t.head = append(t.head, h)
	}
	return t
}

func (t *table) row(cells ...any) {
	row := make([]string, len(cells))
	for i, c := range cells {
		row[i] = plain(fmt.Sprint(c))
	}
	t.rows = append(t.rows, row)
}

// minColumn is the minimum width of a column that is cut.
const minColumn = 8

// print writes the table without empty columns and cuts the widest columns until it fits into the width of w.
func (t *table) print(w io.Writer, margin string) { t.printWithin(w, margin, widthOf(w)) }

// printWithin is print for a given width.
func (t *table) printWithin(w io.Writer, margin string, width int) {
	widths := make([]int, len(t.head))
	for i := range t.head {
		empty := len(t.rows) > 0
		for _, row := range t.rows {
			empty = empty && row[i] == ""
		}
		if empty {
			widths[i] = -2 // removes the gap, too
		}
	}
	all := append([][]string{t.head}, t.rows...)
	for _, row := range all {
		for i, c := range row {
			if widths[i] >= 0 {
				widths[i] = max(widths[i], utf8.RuneCountInString(c))
			}
		}
	}
	for {
		total, widest := len(margin)+2*(len(widths)-1), -1
		for i, n := range widths {
			total += n
			if !t.whole[i] && n > minColumn && (widest < 0 || n > widths[widest]) {
				widest = i
			}
		}
		if total <= width || widest < 0 {
			break
		}
		widths[widest]--
	}
	for n, row := range all {
		var line strings.Builder
		line.WriteString(margin)
		for i, c := range row {
			if widths[i] < 0 {
				continue
			}
			if line.Len() > len(margin) {
				line.WriteString("  ")
			}
			c = fit(c, widths[i], t.right[i])
			if p := t.paint[i]; p != nil && n > 0 {
				c = p(c)
			}
			line.WriteString(c)
		}
		fmt.Fprintln(w, strings.TrimRight(line.String(), " "))
	}
}

// cut makes a text plain and shortens it to most characters.
func cut(s string, most int) string {
	s = plain(s)
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	return string([]rune(s)[:most-1]) + "…"
}

// size formats a number of bytes in at most five characters.
func size(n uint64) string {
	if n < 10_000 {
		return fmt.Sprint(n)
	}
	f := float64(n)
	for _, unit := range "kMGTPE" {
		if f /= 1000; f < 999.5 {
			return fmt.Sprintf("%.3g%c", f, unit)
		}
	}
	return fmt.Sprint(n)
}

// age formats a duration in its two largest units.
func age(seconds float64) string {
	switch d := time.Duration(seconds * float64(time.Second)); {
	case d < 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	case d < time.Hour:
		return d.Round(time.Second).String()
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%dm", int(d.Hours()), int(d.Minutes())%60)
	default:
		return fmt.Sprintf("%dd%dh", int(d.Hours())/24, int(d.Hours())%24)
	}
}

// moment formats a time, with its date if it is more than 12 hours ago.
func moment(t time.Time) string {
	t = t.Local()
	if time.Since(t) < 12*time.Hour {
		return t.Format("15:04:05")
	}
	return t.Format("2006-01-02 15:04:05")
}
