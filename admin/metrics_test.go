package admin

import (
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"weir/conf"
	"weir/internal/status"
)

var update = flag.Bool("update", false, "write the table of metrics instead of comparing it")

// promtool runs promtool, which must succeed.
func promtool(t *testing.T, input string, args ...string) {
	t.Helper()
	cmd := exec.Command("promtool", args...)
	cmd.Stdin = strings.NewReader(input)
	output, err := cmd.CombinedOutput()
	require.NoError(t, err, "promtool %v: %s", args, output)
}

// TestMetricsTable compares the table in README.md with the metrics.
func TestMetricsTable(t *testing.T) {
	table := "| metric | type | labels | meaning |\n|---|---|---|---|\n"
	for _, m := range metricTable() {
		table += fmt.Sprintf("| `%s` | %s | %s | %s |\n", m.name, m.kind, m.labels, m.help)
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

// A scrape has all metrics of the table, and no other.
func TestScrapeHasAllMetrics(t *testing.T) {
	at := unixAddress(filepath.Join(t.TempDir(), "a.sock"))
	startServer(t, newFakeWeir(), conf.Admin{Listen: []conf.Address{at}, Explicit: true})
	res, text := request(t, httpClient(at), "GET /metrics", "")
	require.Equal(t, 200, res.StatusCode, text)
	found := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (\S+) (\S+)$`).FindAllStringSubmatch(text, -1) {
		found[m[1]] = true
		require.Equal(t, strings.HasSuffix(m[1], "_total"), m[2] == "counter", m[1])
	}
	promtool(t, text, "check", "metrics")
	for _, m := range metricTable() {
		require.True(t, found[m.name], m.name)
		delete(found, m.name)
	}
	require.Empty(t, found)
	for _, line := range []string{
		`weir_build_info{go_version="` + runtime.Version() + `",version="test"} 1`,
		`weir_server_state{cluster="c",server="a",state="up"} 1`,
		`weir_server_state{cluster="c",server="a",state="down"} 0`,
		`weir_cluster_level_in_use{cluster="c",level="one"} 1`,
		`weir_sessions_ended_total{listener="l",phase="relay",reason="client_closed"} 2`,
		`weir_datagrams_dropped_total{listener="l",reason="no_server"} 3`,
		`weir_sessions_refused_total{listener="l",reason="denied"} 4`,
		`weir_sent_to_servers_datagrams_total{listener="l"} 8`,
		`weir_sent_to_clients_datagrams_total{listener="l"} 9`,
		`weir_dial_duration_seconds_bucket{le="0.5"} 1`,
		`weir_dial_duration_seconds_bucket{le="+Inf"} 1`,
		`weir_dial_duration_seconds_sum 0.1`,
		`weir_session_duration_seconds_bucket{listener="l",le="0.05"} 0`,
		`weir_session_duration_seconds_count{listener="l"} 1`,
		`weir_check_results_total{check="tcp",cluster="c",result="pass",server="a"} 3`,
		`weir_cluster_servers{cluster="c",state="up"} 1`,
		`weir_cluster_servers{cluster="c",state="down"} 0`,
		`weir_events_dropped_total{hook="h"} 0`,
		`weir_cluster_fallback{cluster="c"} 0`,
	} {
		require.Contains(t, text, line+"\n")
	}
}

func TestNumberAndLabelFormat(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 1: "1", -3: "-3", 0.25: "0.25", 1 << 52: "4503599627370496", 1e300: "1e+300", math.Inf(1): "+Inf", 1e-7: "1e-07",
	} {
		require.Equal(t, want, string(appendNumber(nil, v)))
	}
	require.Equal(t, `a\\b\"c\n é`, string(appendLabel(nil, "a\\b\"c\n é")))
}

// largeSnapshot returns a snapshot of many servers with one check each.
func largeSnapshot(servers int) *snapshot {
	s := &snapshot{}
	c := status.ClusterMetrics{Name: "c", Levels: []status.LevelMetrics{{Name: "1"}}}
	for i := range servers {
		name := fmt.Sprintf("10.1.%d.%d:6379", i/250, i%250+1)
		c.Servers = append(c.Servers, status.ServerMetrics{Name: name, State: "up", SessionsTotal: uint64(i)})
		c.Levels[0].Weights = append(c.Levels[0].Weights, status.ServerWeight{Server: name, Weight: 1, Effective: 1})
		k := status.CheckMetrics{Cluster: "c", Server: name, Check: "tcp", Passed: 12345, Durations: status.Histogram{Count: 12345, Sum: 1.234, Buckets: map[float64]uint64{}}}
		for _, bound := range []float64{0.001, 0.005, 0.025, 0.1, 0.5, 1, 2.5, 10} {
			k.Durations.Buckets[bound] = 12345
		}
		s.Checks = append(s.Checks, k)
	}
	s.Clusters = []status.ClusterMetrics{c}
	return s
}

// BenchmarkMetrics measures the text of a scrape of 10,000 servers, without the snapshot.
func BenchmarkMetrics(b *testing.B) {
	s := largeSnapshot(10_000)
	b.ReportAllocs()
	for b.Loop() {
		if err := writeMetrics(io.Discard, s); err != nil {
			b.Fatal(err)
		}
	}
}
