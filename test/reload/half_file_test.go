package reload

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// writeInHalves writes a file with a pause in the middle, and returns a channel that delivers the result.
func writeInHalves(t *testing.T, path, first, second string, pause time.Duration) chan error {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	require.NoError(t, err)
	_, err = f.WriteString(first)
	require.NoError(t, err)
	done := make(chan error, 1)
	time.AfterFunc(pause, func() {
		_, err := f.WriteString(second)
		f.Close()
		done <- err
	})
	return done
}

// A reload in the middle of a writer's pause applies the whole file, for the configuration and for an included file.
func TestReloadWaitsForHalfWrittenFile(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.SendText("ok"))
	dir := t.TempDir()
	l := weirtest.Config{Listen: nettest.Reserve(t), Levels: weirtest.OneLevel(host.Addr())}
	config := func() string { return "include = [\"" + dir + "/*.toml\"]\n" + l.String() }
	w := weirtest.Start(t, config())
	for _, name := range []string{w.File, filepath.Join(dir, "extra.toml")} {
		for _, pause := range []time.Duration{12 * time.Millisecond, 100 * time.Millisecond} {
			extra := nettest.Reserve(t)
			first, second := config(), weirtest.ListenerTables("extra", extra, host.Addr())
			if name != w.File {
				first = "# first\n"
			}
			done := writeInHalves(t, name, first, second, pause)
			w.SignalReload("reload")
			require.NoError(t, <-done)
			text, _ := weirtest.ReadSession(extra)
			require.Equal(t, "ok", text, "the second half is in force")
			if name != w.File {
				require.NoError(t, os.Remove(name))
			}
			w.Reload(config()) // without it
		}
	}
}

// A file that changes just after a reload, or during it without an end, is reported until the next reload.
func TestFileChangedAfterReloadIsReported(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.SendText("ok"))
	w, _, a := weirtest.ServeAPI(t, weirtest.Config{Levels: weirtest.OneLevel(host.Addr())})
	text := weirtest.ReadFile(t, w.File)
	reload := func() {
		w.WriteConfig(text)
		w.SignalReload("reload")
	}
	reload()
	require.NoError(t, os.WriteFile(w.File, []byte(text+"# more\n"), 0o600))
	r := w.WaitRecord(5*time.Second, "the report", func(r weirtest.Record) bool { return r.IsEvent("reload_stale") })
	require.Equal(t, []any{w.File}, r["files"])
	nettest.Wait(t, 5*time.Second, "the problem", func() bool { return strings.Contains(a.MustRunCommand("status"), "reload again") })
	require.Contains(t, a.MustRunCommand("status"), w.File)
	require.Contains(t, a.MustRunCommand("events"), "reload_stale")
	reload()
	require.NotContains(t, a.MustRunCommand("status"), "reload again")

	// A start reports too.
	l := weirtest.Config{Listen: nettest.Reserve(t), Levels: weirtest.OneLevel(host.Addr())}
	for range 10 { // on a busy machine the change may come more than a second after the start
		other := weirtest.Start(t, l.String())
		began := time.Now()
		require.NoError(t, os.Chtimes(other.File, time.Time{}, time.Now()))
		reported := func() bool {
			return len(other.Records(func(r weirtest.Record) bool { return r.IsEvent("reload_stale") })) > 0
		}
		for !reported() && time.Since(began) < 3*time.Second {
			time.Sleep(10 * time.Millisecond)
		}
		if reported() {
			return
		}
		other.Signal(syscall.SIGTERM)
		<-other.Done
	}
	t.Error("no start reported the change")
}

// keepYoung changes the time of a file until the returned function is called, so that a reload waits for it.
func keepYoung(t *testing.T, path string) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	touch := func() { os.Chtimes(path, time.Time{}, time.Now()) }
	touch()
	go func() {
		defer close(ended)
		for {
			select {
			case <-done:
				return
			case <-time.After(20 * time.Millisecond):
				touch()
			}
		}
	}()
	return func() {
		close(done)
		<-ended
	}
}

// While a reload waits for a file, signals are handled: log files are reopened and a stop is immediate.
func TestSignalsDuringWaitForFile(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.SendText("ok"))
	l := weirtest.Config{Listen: nettest.Reserve(t), Levels: weirtest.OneLevel(host.Addr())}
	w := weirtest.Start(t, l.String())
	stop := keepYoung(t, w.File)
	defer stop()
	w.Signal(syscall.SIGHUP)
	reopened := func(r weirtest.Record) bool { return r.Text("msg") == "log file reopened" }
	for n := 1; n <= 5; n++ { // the reload is waiting for most of them
		w.Signal(syscall.SIGUSR1)
		nettest.Wait(t, time.Second, "the log to be reopened", func() bool { return len(w.Records(reopened)) == n })
	}
	w.Signal(syscall.SIGTERM)
	require.Zero(t, w.WaitExit(time.Second))
	require.Empty(t, w.Events("reload", "reload_failed"), "the reload was waiting")
}

// A start that waits for a file ends immediately at a stop, and a reload signal does not end it.
func TestSignalsDuringWaitOfStart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	included, pipe := filepath.Join(dir, "more.toml"), filepath.Join(dir, "pipe")
	require.NoError(t, os.WriteFile(included, []byte("# more\n"), 0o600))
	defer keepYoung(t, included)()
	require.NoError(t, exec.Command("mkfifo", pipe).Run())
	cmd := exec.Command(weirtest.Binary, "run", "-c", pipe)
	require.NoError(t, cmd.Start())
	l := weirtest.Config{Listen: nettest.Reserve(t), Levels: weirtest.OneLevel("127.0.0.1:1")}
	text := "include = [\"" + included + "\"]\n" + l.String()
	require.NoError(t, os.WriteFile(pipe, []byte(text), 0)) // returns when weir has begun to read
	require.NoError(t, cmd.Process.Signal(syscall.SIGHUP))
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	began := time.Now()
	require.NoError(t, cmd.Wait(), "exit code 0")
	require.Less(t, nettest.Elapsed(began), 1500*time.Millisecond)
}
