// Package packaging holds no code: its tests keep what is delivered with the program true to it.
package packaging

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// exported are the metrics and their labels, from the table that a test of package admin holds to what is exported.
func exported(t *testing.T) map[string][]string {
	text, err := os.ReadFile("../admin/README.md")
	require.NoError(t, err)
	metrics := map[string][]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\| (\\w+) \\| ([a-z_, ]*) \\| .* \\|$").FindAllStringSubmatch(string(text), -1) {
		labels := strings.FieldsFunc(m[3], func(r rune) bool { return r == ',' || r == ' ' })
		metrics[m[1]] = labels
		if m[2] == "histogram" {
			for _, part := range []string{"_bucket", "_sum", "_count"} {
				metrics[m[1]+part] = append([]string{"le"}, labels...)
			}
			delete(metrics, m[1])
		}
	}
	require.Greater(t, len(metrics), 30)
	return metrics
}

// check looks for metrics that are not exported in an expression, and for labels that those in it do not have.
func check(t *testing.T, metrics map[string][]string, expr string) (found int) {
	t.Helper()
	names := regexp.MustCompile(`\b(?:weir|process|go)_\w+`).FindAllString(expr, -1)
	legal := []string{"job", "instance"}
	for _, name := range names {
		labels, ok := metrics[name]
		require.True(t, ok, "no metric %s: %s", name, expr)
		legal = append(legal, labels...)
	}
	labels := regexp.MustCompile(`(\w+)\s*(?:=~|!~|!=|=)\s*"`).FindAllStringSubmatch(expr, -1)
	for _, by := range regexp.MustCompile(`\bby \(([^)]*)\)`).FindAllStringSubmatch(expr, -1) {
		for _, l := range strings.Split(by[1], ",") {
			labels = append(labels, []string{"", strings.TrimSpace(l)})
		}
	}
	for _, l := range labels {
		require.Contains(t, legal, l[1], expr)
	}
	return len(names)
}

func TestDashboard(t *testing.T) {
	text, err := os.ReadFile("grafana/weir.json")
	require.NoError(t, err)
	var dashboard struct {
		UID    string
		Panels []struct {
			ID      int
			Type    string
			Title   string
			GridPos struct{ H, W, X, Y int }
			Targets []struct {
				Expr, LegendFormat string
			}
		}
		Templating struct {
			List []struct{ Name, Definition string }
		}
	}
	require.NoError(t, json.Unmarshal(text, &dashboard))
	metrics := exported(t)
	ids, taken := map[int]bool{}, map[[2]int]string{}
	var exprs []string
	for _, p := range dashboard.Panels {
		require.False(t, ids[p.ID], "two panels %d", p.ID)
		ids[p.ID] = true
		require.Equal(t, p.Type != "row", len(p.Targets) > 0, p.Title)
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				require.Empty(t, taken[[2]int{x, y}], "%s lies over another panel", p.Title)
				require.Less(t, x, 24, p.Title)
				taken[[2]int{x, y}] = p.Title
			}
		}
		for _, target := range p.Targets {
			require.NotZero(t, check(t, metrics, target.Expr), target.Expr)
			exprs = append(exprs, target.Expr)
		}
	}
	parse(t, exprs)
	variables := map[string]bool{"__rate_interval": true}
	for _, v := range dashboard.Templating.List {
		variables[v.Name] = true
		check(t, metrics, v.Definition)
	}
	for _, v := range regexp.MustCompile(`\$\{?(\w+)`).FindAllStringSubmatch(string(text), -1) {
		require.True(t, variables[v[1]], "no variable %s", v[1])
	}
}

// parse lets Prometheus's tool read expressions, with an interval in the place of the variable.
func parse(t *testing.T, exprs []string) {
	t.Helper()
	var rules []any
	for i, expr := range exprs {
		rules = append(rules, map[string]any{"record": fmt.Sprint("x", i), "expr": strings.ReplaceAll(expr, "$__rate_interval", "5m")})
	}
	rule := map[string]any{"groups": []any{map[string]any{"name": "g", "rules": rules}}}
	text, err := json.Marshal(rule)
	require.NoError(t, err)
	path := t.TempDir() + "/rule.yml"
	require.NoError(t, os.WriteFile(path, text, 0o644))
	promtool(t, "check", "rules", path)
}

func promtool(t *testing.T, args ...string) {
	t.Helper()
	output, err := exec.Command("promtool", args...).CombinedOutput()
	require.NoError(t, err, "promtool %v: %s", args, output)
}

func TestAlertRules(t *testing.T) {
	promtool(t, "check", "rules", "prometheus/weir.rules.yml")
	promtool(t, "test", "rules", "prometheus/weir.rules.test.yml", "prometheus/weir.rules.day.test.yml")
	text, err := os.ReadFile("prometheus/weir.rules.yml")
	require.NoError(t, err)
	metrics := exported(t)
	rules := regexp.MustCompile(`(?m)^      - alert: .*\n((?:        .*\n)+)`).FindAllStringSubmatch(string(text), -1)
	require.NotEmpty(t, rules)
	for _, r := range rules {
		expr := regexp.MustCompile(`(?s)expr: (.*?)\n        (?:for|labels):`).FindStringSubmatch(r[1])
		require.NotNil(t, expr, r[1])
		check(t, metrics, expr[1])
	}
}
