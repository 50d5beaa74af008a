package cli_test

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// mistake is a bad file of the tests of package conf and the expected errors, which begin with "weir.toml" and a position.
type mistake struct{ name, text, errors string }

func mistakes(t *testing.T) (list []mistake) {
	t.Helper()
	files, err := filepath.Glob("../../conf/testdata/bad/*.toml")
	require.NoError(t, err)
	for _, file := range files {
		name := strings.TrimSuffix(file, ".toml")
		list = append(list, mistake{filepath.Base(name), weirtest.ReadFile(t, file), weirtest.ReadFile(t, name+".txt")})
	}
	require.Greater(t, len(list), 200)
	return list
}

// place writes a file as an editor does. The file is old: weir does not wait for it to be complete.
func place(t *testing.T, path, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path+".new", []byte(text), 0o644))
	past := time.Now().Add(-time.Minute)
	require.NoError(t, os.Chtimes(path+".new", past, past))
	require.NoError(t, os.Rename(path+".new", path))
}

// weir check reports each mistake with its position and exits with 1: 36 mistakes of all kinds, or all of them in a campaign.
func TestCheckReportsMistakes(t *testing.T) {
	t.Parallel()
	list := mistakes(t)
	rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	if !weirtest.Campaign() {
		list = list[:36]
	}
	dir := t.TempDir()
	for _, m := range list {
		place(t, filepath.Join(dir, "weir.toml"), m.text)
		cmd := exec.Command(weirtest.Binary, "check", "-c", "weir.toml")
		cmd.Dir = dir
		out, _ := cmd.CombinedOutput()
		require.Equal(t, 1, cmd.ProcessState.ExitCode(), "%s: %s", m.name, out)
		require.Equal(t, m.errors, string(out), m.name)
	}
}

// A reload of a file with a mistake is rejected, by signal and by command, the log names each mistake with its position, and weir serves
// as before: one session continues through all of them.
func TestReloadsWithMistakesChangeNothing(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	w, addr, a := weirtest.ServeAPI(t, weirtest.Config{Levels: weirtest.OneLevel(host.Addr() + " name=A")})
	kept := nettest.Dial(t, addr)
	require.NoError(t, weirtest.PingPong(kept))
	good, loaded := weirtest.ReadFile(t, w.File), a.Get("config", "loaded_at")
	list := mistakes(t)
	for i, m := range list {
		place(t, w.File, m.text)
		want := strings.TrimSuffix(strings.ReplaceAll(m.errors, "weir.toml:", w.File+":"), "\n")
		if i%16 == 0 {
			code, out := a.RunCommand("reload")
			require.Equal(t, 1, code, m.name)
			require.Contains(t, out, want, m.name)
			require.Contains(t, a.MustRunCommand("status"), "last reload failed", m.name)
		} else {
			require.Equal(t, want, w.SignalReload("reload_failed").Text("error"), m.name)
		}
		require.NoError(t, weirtest.PingPong(kept), m.name)
		echo, _ := weirtest.EchoOnce(t, addr)
		require.Equal(t, "hello", echo, m.name)
	}
	require.Equal(t, []any{loaded, float64(len(list))}, []any{a.Get("config", "loaded_at"), a.Get("config", "reloads_failed")})
	place(t, w.File, good)
	w.SignalReload("reload")
	require.NoError(t, weirtest.PingPong(kept))
	require.Contains(t, a.MustRunCommand("status"), "no problems")
}
