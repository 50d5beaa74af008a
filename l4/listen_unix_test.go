package l4

import (
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// Another user who replaces a directory by a link at the moment of binding does not lead root elsewhere: no socket is made
// there, and the stale socket of another program stays.
func TestReplacedDirectoryGetsNoSocket(t *testing.T) {
	base, err := os.MkdirTemp("/tmp", "l4")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(base) })
	victim, dir, link := filepath.Join(base, "victim"), filepath.Join(base, "theirs/d"), filepath.Join(base, "theirs/link")
	require.NoError(t, os.MkdirAll(dir, 0o755))
	require.NoError(t, os.Mkdir(victim, 0o700))
	require.NoError(t, os.Symlink(victim, link))
	for _, name := range []string{filepath.Dir(dir), dir, link} {
		require.NoError(t, os.Lchown(name, 4242, 4242))
	}
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(victim, "s"), Net: "unix"})
	require.NoError(t, err)
	stale.SetUnlinkOnClose(false)
	stale.Close()
	before, err := os.Lstat(filepath.Join(victim, "s"))
	require.NoError(t, err)

	stop := make(chan struct{})
	var done sync.WaitGroup
	done.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				_ = unix.Renameat2(unix.AT_FDCWD, dir, unix.AT_FDCWD, link, unix.RENAME_EXCHANGE)
			}
		}
	})
	defer func() { close(stop); done.Wait() }()
	opened, refused := 0, 0
	for i := 0; i < 1000 || opened == 0 || refused == 0; i++ {
		f, err := ListenUnix(filepath.Join(dir, []string{"s", "new"}[i%2]), UnixFile{Mode: 0o666, UID: 4242, GID: 4242})
		if err != nil {
			refused++
		} else {
			opened++
			f.Close()
		}
		entries, err := os.ReadDir(victim)
		require.NoError(t, err)
		require.Len(t, entries, 1, "after %d rounds", i)
		after, err := os.Lstat(filepath.Join(victim, "s"))
		require.NoError(t, err)
		require.True(t, os.SameFile(before, after) && before.Mode() == after.Mode(), "after %d rounds", i)
	}
}
