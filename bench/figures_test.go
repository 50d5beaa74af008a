package main

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestReadmeFigures compares the table of figures in the repository's README with the run that it cites.
func TestReadmeFigures(t *testing.T) {
	cited := map[string][]string{}
	for _, cells := range tableRows(t, "results/latest.md") {
		if len(cells) >= 6 {
			cited[cells[0]] = cells[3:6] // haproxy, nginx, weir
		}
	}
	var got [][]string
	for _, cells := range tableRows(t, "../README.md") {
		if len(cells) == 4 && cells[0] != "work" && !strings.HasPrefix(cells[0], "---") {
			got = append(got, cells[1:])
		}
	}
	var want [][]string
	for _, row := range []string{
		"requests-50: per second",
		"requests-50: proxy CPU each, µs",
		"requests-50: p99, ms",
		"requests-1: p50, ms",
		"short-100: per second",
		"short-100: proxy CPU each, µs",
		"bulk-1: GB/s",
		"bulk-1: proxy CPU per GB, ms",
		"idle-9000: user memory each, bytes",
		"udp-64-16: per second",
		"udp-64-16: proxy CPU each, µs",
		"udp-64-1000: datagrams lost",
	} {
		require.Contains(t, cited, row)
		want = append(want, cited[row])
	}
	require.Equal(t, want, got)
}

// tableRows returns the cells of every table row in a Markdown file.
func tableRows(t *testing.T, path string) (rows [][]string) {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "|") {
			cells := strings.Split(strings.Trim(line, "|"), "|")
			for i := range cells {
				cells[i] = strings.TrimSpace(cells[i])
			}
			rows = append(rows, cells)
		}
	}
	return rows
}
