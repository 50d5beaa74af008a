package packaging

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// systemd understands every line of the unit, and finds that the service may do little.
func TestUnit(t *testing.T) {
	text, err := os.ReadFile("weir.service")
	require.NoError(t, err)
	// Where the program is not installed, another one stands for it.
	unit := filepath.Join(t.TempDir(), "weir.service")
	require.NoError(t, os.WriteFile(unit, []byte(strings.ReplaceAll(string(text), "/usr/bin/weir", "/bin/true")), 0o644))
	output, err := exec.Command("systemd-analyze", "verify", "--man=no", unit).CombinedOutput()
	require.NoError(t, err, "%s", output)
	require.NotContains(t, string(output), "weir.service", "a warning")
	// The exposure is a number from 0 to 10, here in tenths.
	output, err = exec.Command("systemd-analyze", "security", "--offline=true", "--threshold=25", unit).CombinedOutput()
	require.NoError(t, err, "%s", output)
}
