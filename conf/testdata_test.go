package conf

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// update rewrites the expected texts of the files in testdata and the tables in the README.
var update = flag.Bool("update", false, "write what is expected instead of comparing")

// Each bad file gives the expected errors. There is one file per rule.
func TestBadFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.toml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			text, err := os.ReadFile(path)
			require.NoError(t, err)
			_, err = Parse("weir.toml", text)
			require.Error(t, err)
			compare(t, strings.TrimSuffix(path, ".toml")+".txt", err.Error()+"\n")
			var ms Errors
			require.True(t, errors.As(err, &ms))
		})
	}
}

func compare(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), got)
}

// Each good file loads and gives the expected warnings.
func TestGoodFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/good/*.toml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			c, err := Load(path)
			require.NoError(t, err)
			require.Equal(t, path, c.File)
			require.True(t, len(c.Listeners) > 0 || c.SharesConfig())
			again, err := Load(path)
			require.NoError(t, err)
			require.Equal(t, c, again)
			require.Equal(t, "no changes", Diff(c, again).String())
			expected := strings.TrimSuffix(path, ".toml") + ".txt"
			if _, err := os.Stat(expected); errors.Is(err, os.ErrNotExist) {
				require.Empty(t, c.Warnings)
				return
			}
			compare(t, expected, Errors(c.Warnings).Error()+"\n")
		})
	}
}
