package conf

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"weir/conf/internal/tree"
)

// Diagnostic is one error or warning with its position in a configuration file.
type Diagnostic = tree.Diagnostic

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
func sortDiagnostics(ms []Diagnostic, files []*tree.File) []Diagnostic {
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
