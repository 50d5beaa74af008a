package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPage(t *testing.T) {
	text := "# Title\n\nA `b-c` **d** [e](f.md)\n.g\n\n* one\n  more\n\n  ```text\n  [h](i)\n  ```\n\n  end\n* two\n\n| key | type | default | meaning |\n" +
		"|---|---|---|---|\n| `k` | list | `[]` | What\\|not. |\n\n```toml\n.a = \"\\\\\"\n```\n\n### H\n\n| a | b |\n|---|---|\n| c | d |\n"
	require.Equal(t, `.nh
.TH X 1 "" weir
.SH NAME
x \- an example

.SH DESCRIPTION
A \fBb-c\fR \fBd\fP e
\&.g
.IP \(bu 2
one
more

.EX
[h](i)
.EE

end
.IP \(bu 2
two

.TP
\fBk\fR (list; default \fB[]\fR)
What|not.

.EX
\&.a = "\\\&\\\&"
.EE

.SS H
.TP
c
d
`, string(page("x", "1", "an example", text)))
}

// man formats the delivered pages without a warning, and no text is lost.
func TestPages(t *testing.T) {
	for name, c := range map[string]struct{ source, word string }{
		"weir":      {"weir.1.md", "weir explain CLUSTER/SERVER"},
		"weir.toml": {"../../conf/README.md", "half_close_timeout"},
	} {
		text, err := os.ReadFile(c.source)
		require.NoError(t, err)
		path := filepath.Join(t.TempDir(), name+".1")
		require.NoError(t, os.WriteFile(path, page(name, "1", "t", string(text)), 0o644))
		cmd := exec.Command("man", "--warnings", "-E", "UTF-8", "-l", path)
		cmd.Env = append(os.Environ(), "MANWIDTH=120", "LC_ALL=C.UTF-8")
		var warnings strings.Builder
		cmd.Stderr = &warnings
		out, err := cmd.Output()
		require.NoError(t, err)
		require.Empty(t, warnings.String())
		require.Contains(t, string(out), c.word)
		require.NotContains(t, string(out), "\\f")
		require.NotContains(t, string(out), "```")
	}
}
