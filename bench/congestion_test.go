package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// A run with a congestion control measures with it, names it, and leaves the machine's settings as they were.
func TestCongestionControlIsSetForTheRun(t *testing.T) {
	read := func(path string) string {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		return string(text)
	}
	before := read(congestionFile) + read(allowedFile)
	program, out := filepath.Join(t.TempDir(), "bench"), t.TempDir()
	text, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput()
	require.NoError(t, err, string(text))
	for _, control := range []string{"reno", "cubic"} {
		cmd := exec.Command(program, "-congestion", control, "-rows", "requests-1", "-products", "direct", "-rounds", "1", "-seconds", "1", "-out", out)
		text, err := cmd.CombinedOutput()
		require.NoError(t, err, string(text))
		require.Contains(t, read(filepath.Join(out, latestFile(control))), "congestion control "+control)
	}
	require.Equal(t, before, read(congestionFile)+read(allowedFile))

	text, err = exec.Command(program, "-congestion", "none", "-rows", "requests-1", "-out", out).CombinedOutput()
	require.Error(t, err)
	require.True(t, bytes.Contains(text, []byte("this kernel has")), string(text))
}
