package conf

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// rows formats the reference of one table, one row per key of its schema.
func rows[T any](keys []key[T]) string {
	var b strings.Builder
	b.WriteString("| key | type | default | meaning |\n|---|---|---|---|\n")
	for _, k := range keys {
		usual := k.defaultText
		switch {
		case k.isRequired:
			usual = "required"
		case usual == "":
			usual = "none"
		case k.setDefault != nil:
			usual = "`" + usual + "`"
			if !strings.HasPrefix(k.typeText, "integer") && k.typeText != "boolean" {
				usual = "`\"" + k.defaultText + "\"`"
			}
		case usual == "[]":
			usual = "`[]`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", k.name, k.typeText, usual, k.doc)
	}
	return b.String()
}

// The tables of the reference match the schema; -update writes them.
func TestReadmeTables(t *testing.T) {
	s := newSchema()
	tables := map[string]string{
		"root": rows(s.root), "runtime": rows(s.runtime), "log": rows(s.log), "admin": rows(s.admin), "fleet": rows(s.fleet), "listener": rows(s.listener), "route": rows(s.route), "cluster": rows(s.cluster),
		"level": rows(s.level), "server": rows(s.server), "check": rows(s.check), "step": rows(s.step), "topology": rows(s.topology), "cluster_fleet": rows(s.clusterFleet), "discover": rows(s.discover), "event": rows(s.event), "vip": rows(s.vip), "promote": rows(s.promote),
	}
	text, err := os.ReadFile("README.md")
	require.NoError(t, err)
	seen := 0
	got := regexp.MustCompile(`(?s)<!-- keys: (\w+) -->\n.*?<!-- end -->`).ReplaceAllStringFunc(string(text), func(block string) string {
		name := regexp.MustCompile(`keys: (\w+)`).FindStringSubmatch(block)[1]
		require.Contains(t, tables, name)
		seen++
		return fmt.Sprintf("<!-- keys: %s -->\n\n%s\n<!-- end -->", name, tables[name])
	})
	require.Equal(t, len(tables), seen)
	compare(t, "README.md", got)
}

// Every configuration in the reference loads.
func TestReadmeExamples(t *testing.T) {
	text, err := os.ReadFile("README.md")
	require.NoError(t, err)
	examples := regexp.MustCompile("(?ms)^```toml\n(.*?)^```").FindAllStringSubmatch(string(text), -1)
	require.NotEmpty(t, examples)
	for i, e := range examples {
		c, err := Parse(filepath.Join(t.TempDir(), fmt.Sprintf("example%d.toml", i)), []byte(e[1]))
		require.NoError(t, err)
		require.Empty(t, c.Warnings)
	}
}

// Every key has a type and a sentence of documentation.
func TestKeysAreDocumented(t *testing.T) {
	s := newSchema()
	for _, k := range s.cluster {
		require.NotEmpty(t, k.typeText, k.name)
		require.Regexp(t, `\.$`, k.doc, k.name)
	}
	for _, k := range s.listener {
		require.NotEmpty(t, k.typeText, k.name)
		require.Regexp(t, `\.$`, k.doc, k.name)
	}
}
