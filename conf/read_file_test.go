package conf

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/conf/internal/tree"
)

const smallConfig = "[[listener]]\nname = \"a\"\naddress = \":80\"\ncluster = \"web\"\n[[cluster.web.level]]\n"

func TestFileErrors(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	load := func(path string) string {
		_, err := (&Input{Path: path}).load(&Files{})
		require.Error(t, err)
		return err.Error()
	}
	require.Equal(t, "weir.toml: no such file", load("weir.toml"))
	require.NoError(t, os.Mkdir("weir.toml", 0o755))
	require.Equal(t, "weir.toml: is a directory, want a file", load("weir.toml"))
	require.NoError(t, os.WriteFile("large.toml", make([]byte, tree.MaxFileSize+1), 0o644))
	require.Equal(t, "large.toml: larger than 16 MB", load("large.toml"))
	require.Equal(t, "/dev/zero: larger than 16 MB", load("/dev/zero"))
	require.NoError(t, os.WriteFile("file", nil, 0o644))
	require.Equal(t, "file/weir.toml: not a directory", load("file/weir.toml"))
	if os.Getuid() != 0 {
		require.NoError(t, os.WriteFile("secret.toml", []byte(smallConfig), 0))
		require.Equal(t, "secret.toml: permission denied", load("secret.toml"))
	}
}

func TestReadRetriesWhenFileChanges(t *testing.T) {
	path := filepath.Join(t.TempDir(), "weir.toml")
	write := func(s string) { require.NoError(t, os.WriteFile(path, []byte(s), 0o644)) }
	reads := 0
	r := newReader()
	r.tries, r.pause = 5, time.Millisecond

	write("first")
	r.during = func() {
		if reads++; reads == 1 {
			write("second, longer")
		}
	}
	text, err := r.read(path, false)
	require.NoError(t, err)
	require.Equal(t, "second, longer", string(text))

	write("aaaa")
	reads = 0
	r.during = func() { // the same size: only the time differs
		reads++
		write(fmt.Sprintf("%04d", reads))
	}
	_, err = r.read(path, false)
	require.EqualError(t, err, "changed while being read, 5 times")
	require.Equal(t, 5, reads)

	reads = 0
	r.during = func() { // renamed over, as editors and configuration management do
		if reads++; reads == 1 {
			require.NoError(t, os.WriteFile(path+".new", []byte("renamed"), 0o644))
			require.NoError(t, os.Rename(path+".new", path))
		}
	}
	text, err = r.read(path, false)
	require.NoError(t, err)
	require.Equal(t, "renamed", string(text))

	r.during = func() { os.Remove(path) }
	_, err = r.read(path, false)
	require.EqualError(t, err, "no such file")
}

func TestInclude(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	write := func(path, text string) {
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
	listener := func(name string, port int) string {
		return fmt.Sprintf("[[listener]]\nname = %q\naddress = \":%d\"\ncluster = \"web\"\n", name, port)
	}
	// The directory's name must not act as a pattern.
	write("a[b]*/weir.toml", "include = [\"conf.d/*.toml\", \"*.toml\", \"none/*.toml\"]\n[log]\nlevel = \"debug\"\n"+listener("main", 80))
	write("a[b]*/conf.d/2.toml", listener("two", 82)+"[cluster.web]\n[[cluster.web.level]]\n")
	write("a[b]*/conf.d/1.toml", "[log]\nformat = \"json\"\n"+listener("one", 81))
	c, err := Load("a[b]*/weir.toml")
	require.NoError(t, err)
	require.Equal(t, Log{Level: "debug", Format: "json", Sessions: "errors"}, c.Log)
	var got []string
	for _, l := range c.Listeners {
		got = append(got, l.Name)
	}
	require.Equal(t, []string{"main", "one", "two"}, got)

	write("bad/weir.toml", "include = [\"x/*\"]\n[log]\nlevel = \"debug\"\n"+smallConfig)
	write("bad/x/a.toml", "[log]\nlevel = \"info\"\n[[cluster.web.level]]\n"+listener("a", 80)+"bakclog = 1\n")
	write("bad/x/b.toml", "include = [\"c\"]\n[[listener]\n")
	write("bad/x/c.toml", "[runtime]\nloops = -1\n")
	require.NoError(t, os.Mkdir("bad/x/dir", 0o755))
	require.NoError(t, exec.Command("mkfifo", "bad/x/pipe").Run()) // must not block
	_, err = Load("bad/weir.toml")
	require.Error(t, err)
	require.Equal(t, strings.Join([]string{
		`bad/x/a.toml:2:1: log.level: duplicate key level (bad/weir.toml:3 and bad/x/a.toml:2)`,
		`bad/x/a.toml:3:1: cluster.web: duplicate name web of a cluster (bad/weir.toml:8 and bad/x/a.toml:3)`,
		`bad/x/a.toml:5:8: listener[0].name: duplicate name a of a listener (bad/weir.toml:5 and bad/x/a.toml:5)`,
		`bad/x/a.toml:6:11: listener[0].address: duplicate address [::]:80 (tcp): listener a (bad/weir.toml:6) and listener a (line 6)`,
		`bad/x/a.toml:8:1: listener[0].bakclog: unknown key bakclog, did you mean backlog?`,
		`bad/x/b.toml:1:1: include: only the main file may include files; bad/x/b.toml is an included file`,
		`bad/x/b.toml:2:12: expected ] to close the table's name, got the end of the line`,
		`bad/x/c.toml:2:9: runtime.loops: want an integer from 0 to 1024, got -1`,
		`bad/x/dir: is a directory, want a file`,
		`bad/x/pipe: not a regular file`,
	}, "\n"), err.Error())

	_, err = Load("bad/x/pipe") // must not block either
	require.EqualError(t, err, "bad/x/pipe: not a regular file")
	for path, why := range map[string]string{
		"bad/x/pipe": "open bad/x/pipe: not a regular file", "bad": "open bad: not a regular file", "/dev/zero": "open /dev/zero: not a regular file",
		"none": "open none: no such file or directory", "bad/x/c.toml": "read bad/x/c.toml: larger than 20 bytes",
	} {
		_, err = ReadFile(path, 20)
		require.EqualError(t, err, why)
	}
	secret, err := ReadFile("bad/x/c.toml", 21)
	require.NoError(t, err)
	require.Equal(t, "[runtime]\nloops = -1\n", string(secret))
}
