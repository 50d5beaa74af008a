// Package docs has no code. Its tests check the documents.
package docs

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"weir/conf"
	"weir/l4"
)

// pages returns the documents by file name.
func pages(t *testing.T) map[string]string {
	files, err := filepath.Glob("*.md")
	require.NoError(t, err)
	require.Greater(t, len(files), 5)
	texts := map[string]string{}
	for _, file := range append(files, "../README.md", "../admin/README.md", "../l4/README.md", "../bench/README.md") {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		texts[file] = string(text)
	}
	return texts
}

// Every configuration in the documents is valid and causes no warning.
func TestConfigurationsAreValid(t *testing.T) {
	n := 0
	for file, text := range pages(t) {
		for i, m := range regexp.MustCompile("(?ms)^```toml\n(.*?)^```").FindAllStringSubmatch(text, -1) {
			c, err := conf.Parse(filepath.Join(t.TempDir(), fmt.Sprintf("%s-%d.toml", filepath.Base(file), i)), []byte(m[1]))
			require.NoError(t, err)
			require.Empty(t, c.Warnings, file)
			n++
		}
	}
	require.Greater(t, n, 10)
	c, err := conf.Load("../packaging/weir.toml")
	require.NoError(t, err)
	require.Empty(t, c.Warnings)
}

// The packaged configuration is also valid if its commented-out lines are enabled.
func TestPackagedConfigurationIsValidUncommented(t *testing.T) {
	text, err := os.ReadFile("../packaging/weir.toml")
	require.NoError(t, err)
	whole := regexp.MustCompile(`(?m)^# (\[\[|[a-z_]+ = )`).ReplaceAllString(string(text), "$1")
	require.NotEqual(t, string(text), whole)
	c, err := conf.Parse("weir.toml", []byte(whole))
	require.NoError(t, err)
	require.Len(t, c.Clusters[0].Levels, 2)
	require.Len(t, c.Hooks, 1)
}

// Every relative link points to a file.
func TestLinksResolve(t *testing.T) {
	for file, text := range pages(t) {
		for _, m := range regexp.MustCompile(`\]\(([^)#]+)(?:#[^)]*)?\)`).FindAllStringSubmatch(text, -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			_, err := os.Stat(filepath.Join(filepath.Dir(file), m[1]))
			require.NoError(t, err, file)
		}
	}
}

// table returns the names in backticks in the first column of the tables in a text.
func table(text string) (cells []string) {
	for _, m := range regexp.MustCompile("(?m)^\\| (`[^|]*) \\|").FindAllStringSubmatch(text, -1) {
		for _, c := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(m[1], -1) {
			cells = append(cells, c[1])
		}
	}
	return cells
}

// section returns the part of a page under a heading.
func section(t *testing.T, text, heading string) string {
	_, rest, found := strings.Cut(text, "\n## "+heading+"\n")
	require.True(t, found, heading)
	part, _, _ := strings.Cut(rest, "\n## ")
	return part
}

// The tables of phases and reasons are complete: every reason with its phases, every reason for a rejection, and no other.
func TestTerminationTablesAreComplete(t *testing.T) {
	text := section(t, pages(t)["troubleshooting.md"], "How sessions end")
	phases, byReason, _ := strings.Cut(text, "\n| reason |")
	byReason, refusals, _ := strings.Cut(byReason, "A client rejected before")
	want := []string{"abort"}
	occurs := map[string][]string{}
	for _, end := range l4.Terminations() {
		if !slices.Contains(want, end.Phase.String()) {
			want = append(want, end.Phase.String())
		}
		occurs[end.Reason.String()] = append(occurs[end.Reason.String()], end.Phase.String())
	}
	require.ElementsMatch(t, want, table(phases))
	documented := map[string][]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| ([^|]+) \\|").FindAllStringSubmatch(byReason, -1) {
		if m[2] == "any but `abort`" {
			documented[m[1]] = slices.DeleteFunc(slices.Clone(want), func(s string) bool { return s == "abort" })
			continue
		}
		documented[m[1]] = strings.Split(strings.ReplaceAll(m[2], "`", ""), ", ")
	}
	for reason := range occurs {
		require.ElementsMatch(t, occurs[reason], documented[reason], reason)
	}
	require.Len(t, documented, len(occurs))
	for _, r := range l4.Rejections() {
		require.Contains(t, refusals, "`"+r.String()+"`")
	}
}

// The tables of events and of server states are complete.
func TestEventAndStateTablesAreComplete(t *testing.T) {
	texts := pages(t)
	require.ElementsMatch(t, conf.EventKinds(), table(section(t, texts["operating.md"], "Event hooks")))
	require.ElementsMatch(t, []string{"up", "standby", "full", "probation", "failing", "down", "unresolved", "drain", "maint", "unstable"},
		table(section(t, texts["troubleshooting.md"], "A server gets no sessions")))
}

// Metrics and alerts in the documents exist.
func TestMetricsAndAlertsExist(t *testing.T) {
	texts := pages(t)
	rules, err := os.ReadFile("../packaging/prometheus/weir.rules.yml")
	require.NoError(t, err)
	for file, text := range texts {
		for _, name := range regexp.MustCompile(`\bweir_[a-z_]+\b`).FindAllString(text, -1) {
			require.Contains(t, texts["../admin/README.md"], "`"+name+"`", file)
		}
		for _, name := range regexp.MustCompile("`(Weir[A-Z]\\w+)`").FindAllStringSubmatch(text, -1) {
			require.Contains(t, string(rules), "alert: "+name[1]+"\n", file)
		}
	}
}

// The columns of weir in the migration tables have existing keys, values and commands.
func TestMigrationTablesNameExistingKeys(t *testing.T) {
	reference, err := os.ReadFile("../conf/README.md")
	require.NoError(t, err)
	text := pages(t)["migrating.md"]
	n := 0
	for _, m := range regexp.MustCompile(`(?m)^\| [^|]+ \| ([^|]+) \|$`).FindAllStringSubmatch(text, -1) {
		for _, c := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(m[1], -1) {
			word := regexp.MustCompile(`^[a-z][a-z0-9_]*`).FindString(c[1])
			if word == "" || word == "weir" || word == "systemctl" {
				continue
			}
			known := strings.Contains(string(reference), "| `"+word+"` |") || slices.Contains([]string{"errors", "all", "ready"}, word)
			require.True(t, known, "%s: %s", m[0], word)
			n++
		}
	}
	require.Greater(t, n, 60)
}
