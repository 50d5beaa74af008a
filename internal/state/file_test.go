package state

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// newTestFile returns a File at a path, its log, and the snapshot that it writes.
func newTestFile(path string) (*File, *bytes.Buffer, *Snapshot) {
	log, s := &bytes.Buffer{}, &Snapshot{Clusters: []Cluster{}}
	return NewFile(FileOptions{
		Path: func() string { return path }, Snapshot: func() Snapshot { return *s }, Log: slog.New(slog.NewTextHandler(log, nil)),
	}), log, s
}

func readClusters(t *testing.T, path string) (names []string) {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	s, err := Decode(text)
	require.NoError(t, err)
	for _, c := range s.Clusters {
		names = append(names, c.Name)
	}
	return names
}

func TestLoadSetsInvalidFileAside(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.json")
	f, log, _ := newTestFile(path)
	require.Nil(t, f.Load(""))
	require.Nil(t, f.Load(path))
	require.Empty(t, log.String(), "no file is not an error")
	for range 3 { // in the same second, so that names get a number
		require.NoError(t, os.WriteFile(path, []byte("{"), 0o600))
		require.Nil(t, f.Load(path))
		require.NoFileExists(t, path)
		require.FileExists(t, f.Status(path).SetAside)
	}
	require.Equal(t, 3, strings.Count(log.String(), "state file: cannot be used"))
	aside, err := filepath.Glob(path + ".bad-*")
	require.NoError(t, err)
	require.Len(t, aside, 3)
}

func TestSaveLogsEachReasonOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "missing")
	path := filepath.Join(dir, "state.json")
	f, log, _ := newTestFile(path)
	require.False(t, f.Save())
	require.False(t, f.Save())
	require.Equal(t, 1, strings.Count(log.String(), "state file: cannot be written"))
	require.Contains(t, f.Status(path).LastError, "no such file or directory")
	require.NoError(t, os.MkdirAll(path, 0o700))
	require.False(t, f.Save())
	require.Equal(t, "not a regular file", f.Status(path).LastError)
	require.NoError(t, os.Remove(path))
	require.True(t, f.Save())
	require.Contains(t, log.String(), "state file: writable again")
	require.Empty(t, f.Status(path).LastError)
	require.NotNil(t, f.Status(path).SavedAt)
	require.Nil(t, f.Status(path+".other").SavedAt)
}

func TestReleasedFileIsNotWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.json")
	f, _, s := newTestFile(path)
	f.Release()
	require.True(t, f.Save())
	require.NoFileExists(t, path)
	f.Reclaim()
	s.Clusters = []Cluster{{Name: "c"}}
	require.True(t, f.Save())
	require.Equal(t, []string{"c"}, readClusters(t, path))
}

func TestSaveKeepsSymbolicLink(t *testing.T) {
	dir := t.TempDir()
	target, path := filepath.Join(dir, "target"), filepath.Join(dir, "state.json")
	require.NoError(t, os.WriteFile(target, nil, 0o600))
	require.NoError(t, os.Symlink(target, path))
	f, _, _ := newTestFile(path)
	require.True(t, f.Save())
	require.Empty(t, readClusters(t, target))
}

// Run writes soon after a change, at once for Sync, every minute without a change, and when it ends.
func TestRunWritesInTime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.json")
	synctest.Test(t, func(t *testing.T) {
		f, _, s := newTestFile(path)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			f.Run(ctx)
			close(done)
		}()
		began := time.Now()
		s.Clusters = []Cluster{{Name: "a"}}
		f.Changed()
		time.Sleep(writeDelay)
		synctest.Wait()
		require.Equal(t, []string{"a"}, readClusters(t, path))

		s.Clusters = []Cluster{{Name: "b"}}
		f.Sync()
		require.Equal(t, []string{"b"}, readClusters(t, path))
		require.Less(t, time.Since(began), writeDelay+time.Millisecond, "Sync does not wait for the interval")

		saved := *f.Status(path).SavedAt
		time.Sleep(refreshInterval + writeDelay + writeInterval)
		synctest.Wait()
		require.True(t, f.Status(path).SavedAt.After(saved))

		s.Clusters = []Cluster{{Name: "c"}}
		cancel()
		<-done
		require.Equal(t, []string{"c"}, readClusters(t, path))
	})
}
