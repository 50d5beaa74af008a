package admin

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"weir/conf"
)

var update = flag.Bool("update", false, "write the table of metrics instead of comparing it")

// TestMetricsTable compares the table of the README with what there is.
func TestMetricsTable(t *testing.T) {
	table := "| metric | labels | meaning |\n|---|---|---|\n"
	for _, m := range metrics() {
		table += fmt.Sprintf("| `%s` | %s | %s |\n", m.name, m.labels, m.help)
	}
	text, err := os.ReadFile("README.md")
	require.NoError(t, err)
	want := regexp.MustCompile(`(?s)<!-- metrics -->\n.*<!-- end -->`).
		ReplaceAllLiteralString(string(text), "<!-- metrics -->\n\n"+table+"\n<!-- end -->")
	if *update {
		require.NoError(t, os.WriteFile("README.md", []byte(want), 0o644))
		return
	}
	require.Equal(t, want, string(text))
}

// Every metric of the table is there, and no other.
func TestMetrics(t *testing.T) {
	at := unixAt(filepath.Join(t.TempDir(), "a.sock"))
	serve(t, newFake(), conf.Admin{Listen: []conf.Endpoint{at}, Asked: true})
	res, text := request(t, over(at), "GET /metrics", "")
	require.Equal(t, 200, res.StatusCode, text)
	found := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (\S+) (\S+)$`).FindAllStringSubmatch(text, -1) {
		found[m[1]] = true
		require.Equal(t, strings.HasSuffix(m[1], "_total"), m[2] == "counter", m[1])
	}
	for _, m := range metrics() {
		require.True(t, found[m.name], m.name)
		delete(found, m.name)
	}
	require.Empty(t, found)
	for _, line := range []string{
		`weir_build_info{version="test"} 1`,
		`weir_server_state{cluster="c",server="a",state="up"} 1`,
		`weir_server_state{cluster="c",server="a",state="down"} 0`,
		`weir_cluster_level_in_use{cluster="c",level="one"} 1`,
		`weir_sessions_ended_total{end="relay: client closed",listener="l"} 2`,
		`weir_sessions_refused_total{listener="l",reason="denied"} 4`,
		`weir_dial_seconds_bucket{le="0.5"} 1`,
		`weir_check_results_total{check="tcp",cluster="c",result="pass",server="a"} 3`,
	} {
		require.Contains(t, text, line+"\n")
	}
}
