package direntry

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// links returns a directory with links of root and of another user.
func links(t *testing.T) (at func(name string) string) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	at = func(name string) string { return filepath.Join(dir, name) }
	require.NoError(t, os.MkdirAll(at("real/sub"), 0o755))
	require.NoError(t, os.WriteFile(at("real/file"), nil, 0o600))
	link := func(name, target string, uid int) {
		require.NoError(t, os.Symlink(target, at(name)))
		require.NoError(t, os.Lchown(at(name), uid, uid))
	}
	link("own", "real/file", 0)
	link("dir", at("real")+"/", 0)
	link("up", "real/sub/../file", 0)
	link("sub", "real/sub/..", 0)
	link("dangling", "real/new", 0)
	link("loop", "loop", 0)
	link("foreign", "real/file", 4242)
	link("foreigndir", "real", 4242)
	link("chain", "foreign", 0)
	return at
}

// place returns the path that an entry leads to.
func place(t *testing.T, e *Entry) string {
	dir, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", e.dir))
	require.NoError(t, err)
	return filepath.Join(dir, e.name)
}

// Links of root and of the own user are followed, in every part of a path; those of other users are not.
func TestForeignLinksAreRejected(t *testing.T) {
	at := links(t)
	for name, want := range map[string]string{
		"real/file": "real/file", "own": "real/file", "dir/file": "real/file", "up": "real/file", "dangling": "real/new",
		"real/new": "real/new", "real/./sub/../file": "real/file", "sub/file": "real/file", "sub": "real", "real": "real",
	} {
		e, err := Find(at(name))
		require.NoError(t, err, name)
		require.Equal(t, at(want), place(t, e), name)
		e.Close()
	}
	for _, name := range []string{"foreign", "foreigndir/file", "foreigndir/new", "chain"} {
		_, err := Find(at(name))
		require.ErrorIs(t, err, ErrForeignLink, name)
		require.ErrorIs(t, CheckLinks(at(name)), ErrForeignLink, name)
		_, err = OpenFile(at(name), os.O_CREATE|os.O_WRONLY, 0o600)
		require.ErrorIs(t, err, ErrForeignLink, name)
		require.ErrorIs(t, Chown(at(name), 4242, 4242), ErrForeignLink, name)
	}
	for name, want := range map[string]error{"loop": syscall.ELOOP, "missing/file": os.ErrNotExist, "real/file/x": syscall.ENOTDIR} {
		_, err := Find(at(name))
		require.ErrorIs(t, err, want, name)
	}
	require.NoError(t, Chown(at("missing/file"), 1, 1))
	require.NoError(t, Chown(at("real/new"), 1, 1))
}

// The last name is not followed where the file itself may be a link.
func TestLastLinkIsNotFollowed(t *testing.T) {
	at := links(t)
	for _, name := range []string{"own", "foreign", "dangling"} {
		info, err := Lstat(at(name))
		require.NoError(t, err, name)
		require.Equal(t, os.ModeSymlink, info.Mode().Type(), name)
	}
	for _, name := range []string{"foreigndir/file", "foreigndir/new"} {
		_, err := Lstat(at(name))
		require.ErrorIs(t, err, ErrForeignLink, name)
		require.ErrorIs(t, Remove(at(name)), ErrForeignLink, name)
	}
	require.NoError(t, Remove(at("own")))
	require.FileExists(t, at("real/file"))
	e, err := FindNoFollow(at("foreign"))
	require.NoError(t, err)
	defer e.Close()
	_, err = e.Open(os.O_RDONLY, 0)
	require.ErrorIs(t, err, syscall.ELOOP, "a link that appears after Find")
}

// Links of the kernel lead to open descriptors.
func TestStandardOutputIsOpened(t *testing.T) {
	f, err := OpenFile("/dev/stdout", os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

// Directories are not made below links of other users. Those that were made disappear, unless something is in them.
func TestDirectoriesAreNotMadeThroughForeignLinks(t *testing.T) {
	at := links(t)
	_, err := MakeDirectories(at("foreigndir/a/b"), 0o755)
	require.ErrorIs(t, err, ErrForeignLink)
	require.NoDirExists(t, at("real/a"))
	remove, err := MakeDirectories(at("dir/a/b"), 0o755)
	require.NoError(t, err)
	require.DirExists(t, at("real/a/b"))
	remove()
	require.NoDirExists(t, at("real/a"))
	require.DirExists(t, at("real"))
}

// As root a file with several names is neither opened nor given away.
func TestHardLinksAreNotOpenedByRoot(t *testing.T) {
	dir := t.TempDir()
	victim, name := filepath.Join(dir, "victim"), filepath.Join(dir, "name")
	require.NoError(t, os.WriteFile(victim, []byte("precious"), 0o600))
	require.NoError(t, os.Link(victim, name))
	_, err := OpenFile(name, os.O_APPEND|os.O_WRONLY, 0o600)
	require.ErrorIs(t, err, ErrForeignLink)
	require.NoError(t, Chown(name, 4242, 4242))
	require.NoError(t, os.Remove(name))
	f, err := OpenFile(victim, os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(t, err, "a file with one owner and one name")
	f.Close()
	info, err := os.Stat(victim)
	require.NoError(t, err)
	require.EqualValues(t, 0, ownerOf(info))
	require.NoError(t, Chown(victim, 4242, 4242))
	info, err = os.Stat(victim)
	require.NoError(t, err)
	require.EqualValues(t, 4242, ownerOf(info))
}

// Opening a pipe to read it does not wait, and a pipe that weir writes to keeps its deadline.
func TestOpenDoesNotWaitForPipes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	require.NoError(t, syscall.Mkfifo(path, 0o600))
	r, err := OpenFile(path, os.O_RDONLY, 0)
	require.NoError(t, err)
	defer r.Close()
	w, err := OpenFile(path, os.O_APPEND|os.O_WRONLY|syscall.O_NONBLOCK, 0)
	require.NoError(t, err)
	defer w.Close()
	require.NoError(t, w.SetWriteDeadline(time.Now().Add(time.Hour)), "closing it ends a write that is blocked")
}

func ownerOf(info os.FileInfo) uint32 { return info.Sys().(*syscall.Stat_t).Uid }
