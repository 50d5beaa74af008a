package conf

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// age sets the time of the last change of files.
func age(t *testing.T, by time.Duration, paths ...string) {
	t.Helper()
	at := time.Now().Add(-by)
	for _, path := range paths {
		require.NoError(t, os.Chtimes(path, at, at))
	}
}

// settledDir returns a directory with a configuration that includes a file and names others, all of them old.
func settledDir(t *testing.T) (dir string, files map[string]string) {
	dir = t.TempDir()
	files = map[string]string{
		"weir.toml": "include = [\"conf.d/*.toml\"]\n[admin]\ntoken_file = \"" + dir + "/token\"\n" + smallConfig +
			"servers = [\"10.0.0.1:80\"]\n[[cluster.web.check]]\ntype = \"redis\"\ntls = true\n" +
			"password_file = \"" + dir + "/password\"\ntls_ca_file = \"" + dir + "/ca\"\n",
		"conf.d/a.toml": "[log]\nlevel = \"debug\"\n[[listener]]\nname = \"b\"\naddress = \":81\"\ncluster = \"web\"\n",
		"token":         "0123456789abcdef", "password": "open sesame", "ca": "certificate one, certificate two",
	}
	require.NoError(t, os.Mkdir(filepath.Join(dir, "conf.d"), 0o755))
	for name, text := range files {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
		age(t, time.Hour, filepath.Join(dir, name))
	}
	return dir, files
}

// readNamed returns a function for LoadSettled that reads the files that a configuration names.
func readNamed(t *testing.T, into map[string]string) func(*Config) error {
	return func(c *Config) error {
		require.Len(t, c.named, 3)
		for _, path := range c.named {
			text, err := ReadFile(path, 1<<20)
			if err != nil {
				return err
			}
			into[filepath.Base(path)] = string(text)
		}
		return nil
	}
}

// A writer that pauses in the middle of a file gets time to complete it, whatever the kind of the file.
func TestLoadWaitsForHalfWrittenFile(t *testing.T) {
	for _, name := range []string{"weir.toml", "conf.d/a.toml", "token", "password", "ca"} {
		for _, pause := range []time.Duration{12 * time.Millisecond, 100 * time.Millisecond} {
			for _, ahead := range []time.Duration{0, time.Minute} { // the clock of the file system; or weir's ran backwards
				t.Run(fmt.Sprintf("%s %s %s", name, pause, ahead), func(t *testing.T) {
					t.Parallel()
					dir, files := settledDir(t)
					path, text := filepath.Join(dir, name), files[name]
					half := strings.LastIndex(text[:len(text)/2+1], "\n") + 1 // valid alone
					if half == 0 {
						half = len(text) / 2
					}
					var c *Config
					var loaded *Files
					var read map[string]string
					for short := false; !short; { // this machine may make the pause longer than the time that weir waits for
						began := time.Now()
						require.NoError(t, os.WriteFile(path, []byte(text[:half]), 0o600))
						age(t, -ahead, path)
						written := make(chan time.Duration, 1)
						time.AfterFunc(pause, func() {
							_ = os.WriteFile(path, []byte(text), 0o600)
							age(t, -ahead, path)
							written <- time.Since(began)
						})
						read = map[string]string{}
						var err error
						c, loaded, err = LoadSettled(t.Context(), Input{Path: filepath.Join(dir, "weir.toml")}, readNamed(t, read))
						if short = <-written < quietTime; short {
							require.NoError(t, err)
						}
					}
					require.Equal(t, files["weir.toml"], string(loaded.Main))
					require.Len(t, c.Listeners, 2)
					require.Equal(t, map[string]string{"token": files["token"], "password": files["password"], "ca": files["ca"]}, read)
					require.Empty(t, loaded.Changed())
				})
			}
		}
	}
}

// Old files are loaded at once; a file with a time in the future is watched for a moment only.
func TestLoadDoesNotWaitForOldFiles(t *testing.T) {
	dir, _ := settledDir(t)
	path := filepath.Join(dir, "weir.toml")
	load := func() time.Duration {
		quickest := time.Hour
		for range 5 { // this machine may be busy
			began := time.Now()
			_, _, err := LoadSettled(t.Context(), Input{Path: path}, nil)
			require.NoError(t, err)
			if quickest = min(quickest, time.Since(began)); quickest < quietTime {
				break
			}
		}
		return quickest
	}
	require.Less(t, load(), quietTime)
	age(t, -time.Hour, path, filepath.Join(dir, "token"))
	require.Less(t, load(), maxSettle)
}

// A file that is written all the time is waited for within bounds, and rejected if it changes with each attempt.
func TestLoadOfFileThatKeepsChanging(t *testing.T) {
	dir, files := settledDir(t)
	path := filepath.Join(dir, "weir.toml")
	began, n := time.Now(), 0
	_, _, err := LoadSettled(t.Context(), Input{Path: path}, func(*Config) error {
		n++
		return os.WriteFile(path, []byte(files["weir.toml"]+strings.Repeat("\n", n)), 0o600)
	})
	require.EqualError(t, err, path+": changed while being read, 21 times")
	require.Less(t, time.Since(began), 5*maxSettle)

	for range 10 { // this machine may be too slow to keep the file young
		stop := make(chan struct{})
		longest := make(chan time.Duration)
		go func() { // complete at each moment, but always young
			last, most := time.Now(), time.Duration(0)
			for {
				now := time.Now()
				age(t, 0, path)
				most = max(most, time.Since(last))
				last = now
				select {
				case <-stop:
					longest <- most
					return
				case <-time.After(50 * time.Millisecond):
				}
			}
		}()
		began = time.Now()
		_, _, err = LoadSettled(t.Context(), Input{Path: path}, nil)
		took := time.Since(began)
		close(stop)
		require.NoError(t, err)
		if <-longest < quietTime {
			require.GreaterOrEqual(t, took, maxSettle)
			return
		}
	}
	t.Error("this machine is too slow for the test")
}

func TestLoadEndsWithContext(t *testing.T) {
	dir, _ := settledDir(t)
	path := filepath.Join(dir, "weir.toml")
	age(t, 0, path)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err := LoadSettled(ctx, Input{Path: path}, nil)
	require.ErrorIs(t, err, context.Canceled)
}

// A pipe is read once, however often the other files are read.
func TestLoadReadsPipeOnce(t *testing.T) {
	dir, files := settledDir(t)
	age(t, 0, filepath.Join(dir, "password"))
	pipe := filepath.Join(dir, "pipe")
	require.NoError(t, exec.Command("mkfifo", pipe).Run())
	go os.WriteFile(pipe, []byte(files["weir.toml"]), 0)
	c, loaded, err := LoadSettled(t.Context(), Input{Path: pipe}, readNamed(t, map[string]string{}))
	require.NoError(t, err)
	require.Len(t, c.Listeners, 2)
	require.Equal(t, files["weir.toml"], string(loaded.Main))
	_, _, err = LoadSettled(t.Context(), Input{Path: pipe, Regular: true}, nil)
	require.EqualError(t, err, pipe+": not a regular file")
}

// Changed names each file that was replaced, rewritten or removed after it was read.
func TestChangedFiles(t *testing.T) {
	for _, name := range []string{"weir.toml", "conf.d/a.toml", "token", "password", "ca"} {
		dir, files := settledDir(t)
		_, loaded, err := LoadSettled(t.Context(), Input{Path: filepath.Join(dir, "weir.toml")}, readNamed(t, map[string]string{}))
		require.NoError(t, err)
		require.Empty(t, loaded.Changed())
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(files[name]), 0o600)) // the same text
		require.Equal(t, []string{path}, loaded.Changed())
		require.NoError(t, os.Remove(path))
		require.Equal(t, []string{path}, loaded.Changed())
	}
}

// Every key that names a file to read is known as one, so that the file is waited for.
func TestKeysOfInputFiles(t *testing.T) {
	d := newDecoder()
	files := 0
	note := func(name string, file bool) {
		if strings.HasSuffix(name, "_file") && name != "state_file" {
			require.True(t, file, "%s: want inputFileType", name)
			files++
		}
	}
	for _, k := range d.schema.runtime {
		note(k.name, k.file)
	}
	for _, k := range d.schema.admin {
		note(k.name, k.file)
	}
	for _, k := range d.schema.check {
		note(k.name, k.file)
	}
	require.NotZero(t, files)
}

func TestIncludePatternsAreThoseOfShell(t *testing.T) {
	t.Chdir(t.TempDir())
	listing := func(pattern string) []string {
		out, err := exec.Command("sh", "-c", "for f in "+pattern+"; do [ -e \"$f\" ] || [ -L \"$f\" ] && printf '%s\\n' \"$f\"; done; true").Output()
		require.NoError(t, err)
		return strings.Fields(string(out))
	}
	for _, name := range []string{
		"d/a.toml", "d/b.toml", "d/.c.toml", "d/.#a.toml", "d/#a.toml#", "d/a.toml~", "d/..data/e.toml", "d/.git/f.toml", "d/sub/g.toml",
		"d/sub/.h.toml", "d/[x]/i.toml",
	} {
		require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o755))
		require.NoError(t, os.WriteFile(name, nil, 0o644))
	}
	require.NoError(t, os.Symlink("user@host.1234", "d/.#b.toml")) // an editor's lock leads nowhere
	for _, pattern := range []string{
		"d/*.toml", "d/*", "d/.*.toml", "d/?c.toml", "d/[.]c.toml", "d/.c.toml", "*/*.toml", "*/*/*.toml", "d/..data/*.toml",
		"d/\\[x\\]/*.toml", "d/[a-b].toml", "d/none/*", "./d//*.toml", "d/sub/../*.toml", "d/\\.c*",
	} {
		want := listing(pattern)
		for i := range want {
			want[i] = filepath.Clean(want[i])
		}
		got, err := (&globber{left: maxGlobNames}).glob(pattern)
		require.NoError(t, err)
		require.ElementsMatch(t, want, got, pattern)
	}
	for _, pattern := range []string{"d/[", "d/x\\", "[/x"} {
		_, err := (&globber{left: maxGlobNames}).glob(pattern)
		require.Error(t, err, pattern)
	}
}

// A directory of links, as Kubernetes mounts a ConfigMap, gives each file once.
func TestIncludeLoadsEachInodeOnce(t *testing.T) {
	t.Chdir(t.TempDir())
	require.NoError(t, os.MkdirAll("conf.d/..2025_01_01", 0o755))
	require.NoError(t, os.WriteFile("conf.d/..2025_01_01/a.toml", []byte("[log]\nlevel = \"debug\"\n"), 0o644))
	require.NoError(t, os.Symlink("..2025_01_01", "conf.d/..data"))
	require.NoError(t, os.Symlink("..data/a.toml", "conf.d/a.toml"))
	require.NoError(t, os.Symlink("a.toml", "conf.d/b.toml"))
	require.NoError(t, os.Link("conf.d/..2025_01_01/a.toml", "conf.d/c.toml"))
	for _, patterns := range []string{`"conf.d/*"`, `"conf.d/*.toml", "conf.d/*.toml"`, `"conf.d/..data/*", "conf.d/*"`, `"conf.d/..*/*.toml"`} {
		c, err := Parse("weir.toml", []byte("include = ["+patterns+"]\n"+smallConfig))
		require.NoError(t, err, patterns)
		require.Equal(t, "debug", c.Log.Level)
	}
}
