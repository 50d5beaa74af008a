package packaging

import (
	"crypto/sha256"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// build makes the package, in a folder of its own.
func build(t *testing.T) (path string) {
	t.Helper()
	dir := t.TempDir()
	output, err := exec.Command("make", "-s", "-C", "..", "deb", "PACKAGE="+dir).CombinedOutput()
	require.NoError(t, err, "%s", output)
	found, err := filepath.Glob(dir + "/weir_*.deb")
	require.NoError(t, err)
	require.Len(t, found, 1)
	return found[0]
}

// The package installs, its service starts as its unit says and keeps what it was told, an upgrade leaves the
// administrator's changes alone, a removal leaves the configuration, and a purge leaves nothing.
func TestPackage(t *testing.T) {
	path := build(t)
	output, err := exec.Command("unshare", "--mount", "--pid", "--net", "--ipc", "--fork", "--kill-child",
		"sh", "testdata/install.sh", path, t.TempDir()).CombinedOutput()
	require.NoError(t, err, "%s", output)
	require.Contains(t, string(output), "== done")

	// The same tree gives the same package.
	before, err := os.ReadFile(path)
	require.NoError(t, err)
	output, err = exec.Command("sh", "deb/build.sh", filepath.Dir(path)).CombinedOutput()
	require.NoError(t, err, "%s", output)
	after, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, sha256.Sum256(before), sha256.Sum256(after))
}
