package conf

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Diagnostic is one thing wrong, or only odd, in a configuration file. Line and Col count from 1, Col in characters; Line 0
// means that the mistake concerns the file as a whole. Path counts from 0, as in cluster.redis.level[0].servers[1].weight.
type Diagnostic struct {
	File string // "" = what was described at run time
	Line int
	Col  int
	Path string // "" where no key is concerned, as in syntax errors
	Msg  string
}

// String is the mistake in one line: weir.toml:12:3: listener[0].address: missing port in "10.0.0.1".
func (m Diagnostic) String() string {
	var b strings.Builder
	if m.File != "" {
		b.WriteString(m.File)
		if m.Line > 0 {
			fmt.Fprintf(&b, ":%d:%d", m.Line, m.Col)
		}
		b.WriteString(": ")
	}
	if m.Path != "" {
		b.WriteString(m.Path)
		b.WriteString(": ")
	}
	b.WriteString(m.Msg)
	return b.String()
}

// Errors is the error of Load and Parse: all that is wrong, by file (the main one first), line and column.
type Errors []Diagnostic

// Error has one line per mistake.
func (ms Errors) Error() string {
	lines := make([]string, len(ms))
	for i, m := range ms {
		lines[i] = m.String()
	}
	return strings.Join(lines, "\n")
}

// maxDiagnostics bounds what one run reports, so that a large file of another format does not fill a terminal or a log.
const maxDiagnostics = 500

// sortDiagnostics orders by file in the order of loading, then by position, drops repetitions and applies maxDiagnostics.
func sortDiagnostics(ms []Diagnostic, files []*File) []Diagnostic {
	rank := make(map[string]int, len(files))
	for i, f := range files {
		rank[f.Name] = i
	}
	slices.SortStableFunc(ms, func(a, b Diagnostic) int {
		return cmp.Or(
			cmp.Compare(rank[a.File], rank[b.File]),
			cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Col, b.Col),
			strings.Compare(a.Path, b.Path),
		)
	})
	ms = slices.Compact(ms)
	if over := len(ms) - maxDiagnostics; over > 0 {
		last := ms[maxDiagnostics-1]
		last.Path, last.Msg = "", fmt.Sprintf("and %d more mistakes", over+1)
		ms = append(ms[:maxDiagnostics-1:maxDiagnostics-1], last)
	}
	return ms
}
