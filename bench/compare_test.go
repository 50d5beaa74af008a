package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		figures []float64
		want    spread
	}{
		{[]float64{7}, spread{7, 7, 7}},
		{[]float64{3, 1, 2}, spread{2, 1, 3}},
		{[]float64{4, 1, 3, 2}, spread{2.5, 1, 4}},
	} {
		s, ok := spreadOf(c.figures)
		require.True(t, ok)
		require.Equal(t, c.want, s)
	}
	_, ok := spreadOf(nil)
	require.False(t, ok)
}

func TestRatioIsTakenWithinRounds(t *testing.T) {
	// The machine was half as fast in round 2; the products did not change.
	ours := byRound{1: 110, 2: 55, 3: 110, 4: 999}
	theirs := byRound{1: 100, 2: 50, 3: 100, 5: 1}
	s, ok := ours.over(theirs)
	require.True(t, ok)
	require.InDelta(t, 1.1, s.median, 1e-9)
	require.InDelta(t, 1.1, s.low, 1e-9)
	require.InDelta(t, 1.1, s.high, 1e-9)

	_, ok = ours.over(byRound{1: 0})
	require.False(t, ok)
	_, ok = ours.over(nil)
	require.False(t, ok)
}

func TestJudge(t *testing.T) {
	more := target{floor: 1, aim: 1.15}
	require.Equal(t, missed, more.judge(0.99, true))
	require.Equal(t, floorMet, more.judge(1, true))
	require.Equal(t, floorMet, more.judge(0.996, true), "the figure is judged as it is shown")
	require.Equal(t, aimMet, more.judge(1.15, true))

	less := target{floor: 0.9, aim: 0.7}
	require.Equal(t, missed, less.judge(0.91, false))
	require.Equal(t, floorMet, less.judge(0.9, false))
	require.Equal(t, aimMet, less.judge(0.7, false))
}

// sample is three rounds of one row in which nginx has the better rate and HAProxy the lower CPU time.
func sample() []record {
	var records []record
	for round := 1; round <= 3; round++ {
		slow := 1 / float64(round) // drift of the machine
		for product, v := range map[string]values{
			direct:    {metricRate: 150000 * slow},
			"haproxy": {metricRate: 90000 * slow, metricCPU: 7},
			"nginx":   {metricRate: 100000 * slow, metricCPU: 8},
			weirOld:   {metricRate: 60000 * slow, metricCPU: 12},
			weirNew:   {metricRate: 120000 * slow, metricCPU: 6.3},
		} {
			records = append(records, record{Row: "requests-50", Product: product, Round: round, Values: v})
		}
	}
	return records
}

func TestCompareWithTheBetterPeer(t *testing.T) {
	lines := compare(collect(sample()))
	require.Len(t, lines, 2)

	rate, cpu := lines[0], lines[1]
	require.Equal(t, metricRate, rate.metric)
	require.Equal(t, "nginx", rate.peer)
	require.InDelta(t, 1.2, rate.ratio.median, 1e-9)
	require.Equal(t, aimMet, rate.verdict)
	require.InDelta(t, 2, rate.oldRatio.median, 1e-9)

	require.Equal(t, metricCPU, cpu.metric)
	require.Equal(t, "haproxy", cpu.peer)
	require.InDelta(t, 0.9, cpu.ratio.median, 1e-9)
	require.Equal(t, floorMet, cpu.verdict)
}

func TestCompareWithoutWeir(t *testing.T) {
	lines := compare(collect([]record{{Row: "short-100", Product: "nginx", Round: 1, Values: values{metricRate: 1}}}))
	require.Len(t, lines, 1)
	require.Nil(t, lines[0].ratio)
	require.Empty(t, lines[0].verdict)
}

func TestCompareAbsoluteTarget(t *testing.T) {
	lines := compare(collect([]record{{Row: "idle-1000", Product: weirNew, Round: 1, Values: values{metricMemory: 500}}}))
	require.Len(t, lines, 1)
	require.Equal(t, floorMet, lines[0].verdict)
}

func TestGrowth(t *testing.T) {
	var records []record
	for row, cpu := range map[string]float64{"servers-1": 40, "servers-10": 90, "servers-1000": 60} {
		records = append(records, record{Row: row, Product: "nginx", Round: 1, Values: values{metricCPU: cpu}})
	}
	all := growths(compare(collect(records)))
	require.Len(t, all, 1)
	require.Equal(t, []int{1, 1000}, []int{all[0].first, all[0].last})
	require.InDelta(t, 1.5, all[0].factor["nginx"], 1e-9)
	require.Equal(t, ""+
		"| figure, last over first              | nginx |\n"+
		"| ------------------------------------ | ----: |\n"+
		"| servers 1 → 1000: proxy CPU each, µs |  1.50 |\n",
		growthTable(all, []string{direct, "nginx"}).String())
}

func TestTableIsPadded(t *testing.T) {
	table := &table{titles: []string{"row", "µs"}}
	table.add("a", "12,345")
	table.add("longer", "–")
	require.Equal(t, ""+
		"| row    |     µs |\n"+
		"| ------ | -----: |\n"+
		"| a      | 12,345 |\n"+
		"| longer |      – |\n", table.String())
}

func TestMainTable(t *testing.T) {
	text := mainTable(compare(collect(sample())), productNames()).String()
	line := strings.Join(strings.Fields(strings.Split(text, "\n")[2]), " ")
	require.Equal(t, "| requests-50: per second | 75,000 | – | 45,000 | 50,000 | 30,000 | 60,000 "+
		"| 1.20 (nginx) | 1.20–1.20 | ≥ 1.05 | ≥ 1.12 | aim met |", line)
}

func TestFigureCell(t *testing.T) {
	for figure, want := range map[float64]string{
		0: "0", 2: "2", 0.0714: "0.071", 0.412: "0.412", 7.834: "7.83", 14.82: "14.8", 264.2: "264", 999.7: "1,000",
		94321.4: "94,321", 1234567: "1,234,567", -1234.5: "-1,234", -0.5: "-0.500",
	} {
		require.Equal(t, want, figureCell(figure))
	}
}

func TestDoubts(t *testing.T) {
	records := sample()
	records[0].OtherCores = 0.8
	records[1].Failures = 4
	records = append(records, record{Row: "bulk-1", Product: "nginx", Round: 2, Error: "it broke"})
	text := strings.Join(reasonsForDoubt(records, compare(collect(records))), "\n")
	require.Contains(t, text, "requests-50: up to 0.80 CPUs were busy")
	require.Contains(t, text, "requests-50: 4 requests or connections failed")
	require.Contains(t, text, "bulk-1, nginx, round 2 failed: it broke")
	require.NotContains(t, text, "direct is only")
	require.Empty(t, reasonsForDoubt(sample(), compare(collect(sample()))))
}

func TestResultsAreReadBackAndRendered(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "2026-01-02-030405")
	require.NoError(t, os.Mkdir(dir, 0o755))
	s := setup{
		Date: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Machine: machine{CPUs: 2, Model: "a CPU", Kernel: "Linux"},
		Products: productNames(), Versions: map[string]string{"nginx": "nginx 1"}, Rounds: 3, Seconds: 1, Threads: 2,
	}
	require.NoError(t, writeSetup(dir, s))
	var raw bytes.Buffer
	for _, r := range sample() {
		require.NoError(t, writeRecord(&raw, r))
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, runsFile), raw.Bytes(), 0o644))

	var out bytes.Buffer
	require.NoError(t, render(dir, &out))
	require.Contains(t, out.String(), "aim met")
	summary, err := os.ReadFile(filepath.Join(dir, summaryFile))
	require.NoError(t, err)
	require.Contains(t, string(summary), "![requests-per_second](requests-per_second.png)")
	latest, err := os.ReadFile(filepath.Join(dir, "..", latestFile("")))
	require.NoError(t, err)
	require.Contains(t, string(latest), "(2026-01-02-030405/requests-per_second.png)")
	require.FileExists(t, filepath.Join(dir, "requests-cpu_us.png"))
}
