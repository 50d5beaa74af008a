package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// table is rows of cells under titles, rendered as a Markdown table that also reads well as plain text.
type table struct {
	titles []string
	rows   [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// String pads every column to its widest cell: words to the left in the first column, figures to the right in others.
func (t *table) String() string {
	widths := make([]int, len(t.titles))
	for _, cells := range append([][]string{t.titles}, t.rows...) {
		for i, cell := range cells {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	write := func(cells []string) {
		for i, cell := range cells {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if i == 0 {
				cell += pad
			} else {
				cell = pad + cell
			}
			fmt.Fprintf(&b, "| %s ", cell)
		}
		b.WriteString("|\n")
	}
	write(t.titles)
	rule := make([]string, len(widths))
	for i, width := range widths {
		rule[i] = strings.Repeat("-", width)
		if i > 0 {
			rule[i] = strings.Repeat("-", max(1, width-1)) + ":"
		}
	}
	write(rule)
	for _, cells := range t.rows {
		write(cells)
	}
	return b.String()
}

// mainTable is the comparison of all products with the verdict on weir.
func mainTable(lines []comparison, products []string) *table {
	t := &table{titles: []string{"row"}}
	t.titles = append(t.titles, products...)
	t.titles = append(t.titles, "weir / better peer", "lowest–highest", "floor", "aim", "verdict")
	for _, c := range lines {
		cells := []string{c.row.name + ": " + c.metric.title()}
		for _, product := range products {
			cells = append(cells, medianCell(c.of, product))
		}
		ratio, around := "–", "–"
		if c.ratio != nil {
			ratio, around = ratioCell(c.ratio.median)+" ("+c.peer+")", rangeCell(*c.ratio)
		}
		floor, aim, verdict := "–", "–", "–"
		if c.target != nil {
			floor, aim = c.target.cells(c.metric.more())
		}
		if c.verdict != "" {
			verdict = c.verdict
		}
		t.add(append(cells, ratio, around, floor, aim, verdict)...)
	}
	return t
}

// beforeAfterTable compares two weir binaries; nil when only one was measured.
func beforeAfterTable(lines []comparison) *table {
	t := &table{titles: []string{"row", "before", "after", "after / before", "lowest–highest"}}
	for _, c := range lines {
		if c.oldRatio != nil {
			t.add(c.row.name+": "+c.metric.title(), medianCell(c.of, weirOld), medianCell(c.of, weirNew),
				ratioCell(c.oldRatio.median), rangeCell(*c.oldRatio))
		}
	}
	if len(t.rows) == 0 {
		return nil
	}
	return t
}

// growthTable shows by what factor figures change from the smallest to the largest point; nil without any.
func growthTable(all []growth, products []string) *table {
	t := &table{titles: []string{"figure, last over first"}}
	for _, product := range products {
		if product != direct {
			t.titles = append(t.titles, product)
		}
	}
	for _, g := range all {
		cells := []string{fmt.Sprintf("%s %d → %d: %s", g.family.axis, g.first, g.last, g.metric.title())}
		for _, product := range t.titles[1:] {
			if factor, ok := g.factor[product]; ok {
				cells = append(cells, ratioCell(factor))
			} else {
				cells = append(cells, "–")
			}
		}
		t.add(cells...)
	}
	if len(t.rows) == 0 {
		return nil
	}
	return t
}

// cells render floor and aim.
func (t target) cells(more bool) (floor, aim string) {
	sign := "≤ "
	if more {
		sign = "≥ "
	}
	bound := func(figure float64) string { return sign + thousands(strconv.FormatFloat(figure, 'f', -1, 64)) }
	return bound(t.floor), bound(t.aim)
}

func medianCell(of map[string]spread, product string) string {
	if s, ok := of[product]; ok {
		return figureCell(s.median)
	}
	return "–"
}

func ratioCell(ratio float64) string { return strconv.FormatFloat(ratio, 'f', 2, 64) }

func rangeCell(s spread) string { return ratioCell(s.low) + "–" + ratioCell(s.high) }

// figureCell renders a figure with three digits or more: 0.412, 7.83, 264, 94,321.
func figureCell(figure float64) string {
	if figure == math.Trunc(figure) && math.Abs(figure) < 1000 {
		return strconv.FormatFloat(figure, 'f', 0, 64)
	}
	for digits, below := range []float64{100, 10, 1} {
		if math.Abs(figure) >= below {
			return thousands(strconv.FormatFloat(figure, 'f', digits, 64))
		}
	}
	return strconv.FormatFloat(figure, 'f', 3, 64)
}

// thousands puts commas into the whole part of a number.
func thousands(s string) string {
	whole, rest, _ := strings.Cut(s, ".")
	sign := ""
	if strings.HasPrefix(whole, "-") {
		sign, whole = "-", whole[1:]
	}
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if rest != "" {
		rest = "." + rest
	}
	return sign + whole + rest
}
