package direntry

import (
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// exchange replaces a directory of another user by that user's link to a directory of root, and back, until the test ends.
// It returns the path of the directory and that of root's directory.
func exchange(t *testing.T) (dir, victim string) {
	base := t.TempDir()
	theirs := filepath.Join(base, "theirs")
	dir, victim = filepath.Join(theirs, "d"), filepath.Join(base, "victim")
	link := filepath.Join(theirs, "link")
	require.NoError(t, os.MkdirAll(dir, 0o755))
	require.NoError(t, os.Mkdir(victim, 0o700))
	require.NoError(t, os.Symlink(victim, link))
	for _, name := range []string{theirs, dir, link} {
		require.NoError(t, os.Lchown(name, 4242, 4242))
	}
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
	t.Cleanup(func() { close(stop); done.Wait() })
	return dir, victim
}

// Another user who replaces a directory by a link at the moment of opening does not lead root elsewhere: nothing is made,
// renamed, given away or removed there.
func TestReplacedDirectoryLeadsNowhere(t *testing.T) {
	dir, victim := exchange(t)
	precious := filepath.Join(victim, "precious")
	require.NoError(t, os.WriteFile(precious, []byte("x"), 0o600))
	opened, refused := 0, 0
	for i := 0; i < 3000 || opened == 0 || refused == 0; i++ {
		f, err := OpenFile(filepath.Join(dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
		if err == nil {
			opened++
			require.NoError(t, f.Chown(4242, 4242))
			f.Close()
		} else {
			refused++
		}
		if e, err := Find(filepath.Join(dir, "state")); err == nil {
			next := e.Sibling(".new")
			if f, err := next.Open(os.O_CREATE|os.O_WRONLY, 0o600); err == nil {
				f.Close()
				require.NoError(t, next.Rename(e))
			}
			e.Close()
		}
		_ = Chown(filepath.Join(dir, "precious"), 4242, 4242)
		_ = Remove(filepath.Join(dir, "precious"))
		if remove, err := MakeDirectories(filepath.Join(dir, "made"), 0o755); err == nil {
			remove()
		}
		entries, err := os.ReadDir(victim)
		require.NoError(t, err)
		require.Len(t, entries, 1, "after %d rounds", i)
	}
	info, err := os.Stat(precious)
	require.NoError(t, err)
	require.Zero(t, ownerOf(info))
	t.Logf("%d opened, %d refused", opened, refused)
}

// The path of a socket names the descriptor of its directory only where other users can replace a directory.
func TestSocketPathIsPinnedInDirectoriesOfOthers(t *testing.T) {
	base, err := os.MkdirTemp("/tmp", "direntry")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(base) })
	for _, c := range []struct {
		name   string
		mode   fs.FileMode
		owner  int
		pinned bool
	}{
		{"own", 0o755, 0, false},
		{"sticky", 0o777 | fs.ModeSticky, 0, false},
		{"all", 0o777, 0, true},
		{"group", 0o770, 0, true},
		{"theirs", 0o755, 4242, true},
	} {
		below := filepath.Join(base, c.name, "below")
		require.NoError(t, os.MkdirAll(below, 0o755))
		require.NoError(t, os.Chmod(filepath.Dir(below), c.mode))
		require.NoError(t, os.Chown(filepath.Dir(below), c.owner, 0))
		for _, dir := range []string{below, filepath.Dir(below)} {
			path := filepath.Join(dir, "s")
			e, err := FindNoFollow(path)
			require.NoError(t, err)
			if c.pinned {
				require.Regexp(t, `^/proc/self/fd/\d+/s$`, e.SocketPath(), c.name)
			} else {
				require.Equal(t, path, e.SocketPath(), c.name)
			}
			e.Close()
		}
	}
}
