package weirtest

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// ShortTempDir creates a directory whose path leaves space for the name of a unix socket.
func ShortTempDir(t *testing.T) string {
	dir, err := os.MkdirTemp("", "weirsock")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func ReadFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if !os.IsNotExist(err) {
		require.NoError(t, err)
	}
	return string(text)
}
