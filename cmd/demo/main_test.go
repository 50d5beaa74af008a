package main

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
)

// The next server and the next level take over, no client sees an error, and the better level serves again when it is
// back.
func TestScriptedFailover(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "weir")
	build, err := exec.Command("go", "build", "-o", binary, "weir/cmd/weir").CombinedOutput()
	require.NoError(t, err, "%s", build)
	var out, errs bytes.Buffer
	code := run([]string{"-weir", binary, "-listen", nettest.Reserve(t), "-script", "-step", "3s"},
		strings.NewReader(""), &out, &errs)
	require.Zero(t, code, "%s%s", out.String(), errs.String())
	text := out.String()
	require.NotContains(t, text, "error")
	for _, scene := range []string{
		"server a is stopped", "b b b b b b b b",
		"server b is stopped", "c c c c c c c c",
		"server a is started", "a a a a a a a a",
		"server b is started", "b",
	} {
		_, after, found := strings.Cut(text, scene)
		require.True(t, found, "%q is missing or too early in\n%s", scene, out.String())
		text = after
	}
}
