package privileges

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// Links of root and of the own user are followed, in every part of a path; those of other users are not.
func TestResolveLinksRejectsForeignLinks(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	at := func(name string) string { return filepath.Join(dir, name) }
	require.NoError(t, os.MkdirAll(at("real/sub"), 0o755))
	require.NoError(t, os.WriteFile(at("real/file"), nil, 0o600))
	link := func(name, target string, uid int) {
		require.NoError(t, os.Symlink(target, at(name)))
		require.NoError(t, os.Lchown(at(name), uid, uid))
	}
	link("own", "real/file", 0)
	link("dir", at("real"), 0)
	link("up", "real/sub/../file", 0)
	link("dangling", "real/new", 0)
	link("loop", "loop", 0)
	link("foreign", "real/file", 4242)
	link("foreigndir", "real", 4242)
	link("chain", "foreign", 0)
	for name, want := range map[string]string{
		"real/file": "real/file", "own": "real/file", "dir/file": "real/file", "up": "real/file", "dangling": "real/new",
		"missing/file": "missing/file", "real/./sub/../file": "real/file",
	} {
		got, err := ResolveLinks(at(name))
		require.NoError(t, err, name)
		require.Equal(t, at(want), got, name)
	}
	for _, name := range []string{"foreign", "foreigndir/file", "foreigndir/new", "chain"} {
		_, err := ResolveLinks(at(name))
		require.ErrorIs(t, err, ErrForeignLink, name)
		_, err = OpenFile(at(name), os.O_CREATE|os.O_WRONLY, 0o600)
		require.ErrorIs(t, err, ErrForeignLink, name)
	}
	_, err = ResolveLinks(at("loop"))
	require.Error(t, err)
	got, err := ResolveLinks("/dev/stdout")
	require.NoError(t, err)
	require.Equal(t, "/proc/self/fd/1", got)
}

// As root a file with several names is neither opened nor given away.
func TestHardLinksAreNotOpenedByRoot(t *testing.T) {
	dir := t.TempDir()
	victim, name := filepath.Join(dir, "victim"), filepath.Join(dir, "name")
	require.NoError(t, os.WriteFile(victim, []byte("precious"), 0o600))
	require.NoError(t, os.Link(victim, name))
	_, err := OpenFile(name, os.O_APPEND|os.O_WRONLY, 0o600)
	require.ErrorIs(t, err, ErrForeignLink)
	require.NoError(t, ChownFile(name, 4242, 4242))
	require.NoError(t, os.Remove(name))
	f, err := OpenFile(victim, os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(t, err, "a file with one owner and one name")
	f.Close()
	info, err := os.Stat(victim)
	require.NoError(t, err)
	require.EqualValues(t, 0, ownerOf(info))
}

func ownerOf(info os.FileInfo) uint32 { return info.Sys().(*syscall.Stat_t).Uid }
