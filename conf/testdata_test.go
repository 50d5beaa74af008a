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

// update rewrites the expected texts beside the bad files and the tables in the README.
var update = flag.Bool("update", false, "write what is expected instead of comparing")

// TestBadFiles loads one file per rule and compares all that is said about it.
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

// TestGoodFiles loads files that are right, and compares their warnings where there is a text beside them.
func TestGoodFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/good/*.toml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			c, err := Load(path)
			require.NoError(t, err)
			require.Equal(t, path, c.File)
			require.NotEmpty(t, c.Listeners)
			again, err := Load(path)
			require.NoError(t, err)
			require.Equal(t, c, again)
			require.Equal(t, "no changes", Diff(c, again).String())
			want, err := os.ReadFile(strings.TrimSuffix(path, ".toml") + ".txt")
			if errors.Is(err, os.ErrNotExist) {
				require.Empty(t, c.Warnings)
				return
			}
			require.NoError(t, err)
			require.Equal(t, string(want), Errors(c.Warnings).Error()+"\n")
		})
	}
}
