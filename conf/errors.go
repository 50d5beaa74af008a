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

// Errors is the error of Load and Parse: all errors of the files, sorted by file (the main file first), line and
// column.
type Errors []Diagnostic

// Error formats one diagnostic per line.
func (ms Errors) Error() string {
	lines := make([]string, len(ms))
	for i, m := range ms {
		lines[i] = m.String()
	}
	return strings.Join(lines, "\n")
}

// maxDiagnostics limits what one run reports, so that a large file of another format does not fill a terminal or a log.
const maxDiagnostics = 500

// sortDiagnostics sorts by file in loading order, then by position, removes duplicates and applies maxDiagnostics. With maxErrors
// there may be more.
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
	atLeast := ""
	if len(ms) >= maxErrors {
		atLeast = "at least "
	}
	ms = slices.Compact(ms)
	if over := len(ms) - maxDiagnostics; over > 0 {
		last := ms[maxDiagnostics-1]
		last.Path, last.Msg = "", fmt.Sprintf("and %s%d more errors", atLeast, over+1)
		ms = append(ms[:maxDiagnostics-1:maxDiagnostics-1], last)
	}
	return ms
}
