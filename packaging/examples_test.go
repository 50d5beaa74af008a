package packaging

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"weir/conf"
)

// The delivered examples are valid, without a warning, and systemd understands the limits.
func TestExamples(t *testing.T) {
	files, err := filepath.Glob("examples/*.toml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range append(files, "weir.toml") {
		c, err := conf.Load(file)
		require.NoError(t, err)
		require.Empty(t, c.Warnings, file)
	}
	for _, script := range []string{"examples/runit", "examples/openrc", "deb/postinst", "deb/postrm", "deb/prerm", "deb/build.sh"} {
		output, err := exec.Command("sh", "-n", script).CombinedOutput()
		require.NoError(t, err, "%s: %s", script, output)
	}
	// The unit with the limits: a line that systemd does not know is a complaint.
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "limits.service.d"), 0o755))
	text, err := os.ReadFile("examples/limits.conf")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "limits.service.d", "limits.conf"), text, 0o644))
	unit := filepath.Join(dir, "limits.service")
	require.NoError(t, os.WriteFile(unit, []byte("[Service]\nExecStart=/bin/true\n"), 0o644))
	output, err := exec.Command("systemd-analyze", "verify", "--man=no", unit).CombinedOutput()
	require.NoError(t, err, "%s", output)
	require.NotContains(t, string(output), "limits", "a complaint")
}
