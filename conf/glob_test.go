package conf

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The number of names is limited over all patterns of a configuration, for names that are listed and for names that are looked
// up, in wide and in deep directories.
func TestIncludePatternsShareLimitOfNames(t *testing.T) {
	t.Chdir(t.TempDir())
	for i := range 5 {
		for k := range 4 {
			dir := fmt.Sprintf("d%d/e%d", i, k)
			require.NoError(t, os.MkdirAll(dir, 0o755))
			require.NoError(t, os.WriteFile(dir+"/f", nil, 0o644))
		}
	}
	for _, c := range []struct {
		pattern string
		names   int // that must be compared or looked up
	}{
		{"*", 5}, {"*/*", 5 + 20}, {"*/*/*", 5 + 20 + 20}, {"*/*/f", 5 + 20 + 20}, {"d1/e1/f", 3}, {"none/*", 1}, {"d1/../d1/../d1/*", 5 + 4},
		{"*/../*", 5 + 5 + 5},
	} {
		g := globber{left: c.names}
		_, err := g.glob(c.pattern)
		require.NoError(t, err, c.pattern)
		require.Zero(t, g.left, c.pattern)
		_, err = g.glob("d1/*")
		require.ErrorContains(t, err, "is compared with more than", "after %s", c.pattern)
		g = globber{left: c.names - 1}
		_, err = g.glob(c.pattern)
		require.ErrorContains(t, err, "is compared with more than", c.pattern)
		require.Equal(t, -1, g.left, "no more work after the limit")
	}
}

// Directories of the kernel are not searched, wherever a pattern begins.
func TestIncludeSearchesNoDirectoryOfKernel(t *testing.T) {
	for _, pattern := range []string{"/proc/*", "/proc/*/fd/*", "/proc/self/fd/*", "/sys/*", "/sys/kernel/*", "/proc/self/root/proc/*", "/*/*"} {
		_, err := (&globber{left: maxGlobNames}).glob(pattern)
		require.ErrorContains(t, err, "whose files belong to the kernel", pattern)
	}
}

// The size of all included files together is limited.
func TestIncludedFilesShareLimitOfSize(t *testing.T) {
	dir := t.TempDir()
	half := strings.Repeat("#"+strings.Repeat("x", 1022)+"\n", MaxFileSize/2/1024)
	for _, name := range []string{"a", "b"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name+".toml"), []byte(half), 0o644))
	}
	config := fmt.Sprintf("include = [%q]\n", dir+"/*.toml") + smallConfig
	_, err := Parse("weir.toml", []byte(config))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "c.toml"), []byte("#\n"), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "d.toml"), []byte("#\n"), 0o644))
	_, err = Parse("weir.toml", []byte(config))
	require.EqualError(t, err, dir+"/c.toml: the included files are larger than 16 MB together")
}
