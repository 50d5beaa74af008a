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
	var b strings.Builder
	page(&b, "x", "1", "an example", "# Title\n\nA `b-c` **d** [e](f.md)\n.g\n\n* one\n  more\n* two\n\n| key | type | default | meaning |\n|---|---|---|---|\n"+
		"| `k` | list | `[]` | What\\|not. |\n\n```toml\n.a = \"\\\\\"\n```\n\n### 'H'\n\n| a | b |\n|---|---|\n| c | d |\n")
	require.Equal(t, `.TH X 1 "" weir
.SH NAME
x \- an example
.SH DESCRIPTION
.PP
A \fBb\-c\fR \fBd\fR e .g
.IP \(bu 2
one more
.IP \(bu 2
two
.TP
\fBk\fR (list; default \fB[]\fR)
What|not.
.PP
.RS 4
.nf
\&.a = "\e\e"
.fi
.RE
.SS "\(aqH\(aq"
.TP
c
d
`, b.String())
}

// The pages that are delivered are to the liking of the formatter, and none of it is lost.
func TestPages(t *testing.T) {
	for name, c := range map[string]struct{ source, word string }{
		"weir":      {"weir.1.md", "weir explain CLUSTER/SERVER"},
		"weir.toml": {"../../conf/README.md", "half_close_timeout"},
	} {
		text, err := os.ReadFile(c.source)
		require.NoError(t, err)
		var b strings.Builder
		page(&b, name, "1", "t", string(text))
		path := filepath.Join(t.TempDir(), name+".1")
		require.NoError(t, os.WriteFile(path, []byte(b.String()), 0o644))
		cmd := exec.Command("man", "--warnings", "-E", "UTF-8", "-l", path)
		cmd.Env = append(os.Environ(), "MANWIDTH=120", "LC_ALL=C.UTF-8")
		var complaints strings.Builder
		cmd.Stderr = &complaints
		shown, err := cmd.Output()
		require.NoError(t, err)
		require.Empty(t, complaints.String())
		require.Contains(t, string(shown), c.word)
		require.NotContains(t, string(shown), "\\f")
	}
}
