package reload

import (
	"bytes"
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

// quiet is the time without a change after which a file is taken to be complete. A machine on which the tests take longer between
// two changes must try again.
const quiet = 200 * time.Millisecond

// writeInHalves writes a file with a pause in the middle, and returns a channel that delivers how long the pause was.
func writeInHalves(t *testing.T, path, first, second string, pause time.Duration) chan time.Duration {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	require.NoError(t, err)
	began := time.Now()
	_, err = f.WriteString(first)
	require.NoError(t, err)
	done := make(chan time.Duration, 1)
	time.AfterFunc(pause, func() {
		f.WriteString(second)
		f.Close()
		done <- time.Since(began)
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
			nettest.Wait(t, time.Minute, "a pause that is short enough", func() bool {
				extra := nettest.Reserve(t)
				first, second := config(), weirtest.ListenerTables("extra", extra, host.Addr())
				if name != w.File {
					first = "# first\n"
				}
				done := writeInHalves(t, name, first, second, pause)
				w.SignalReload("reload")
				short := <-done < quiet
				if short {
					text, _ := weirtest.ReadSession(extra)
					require.Equal(t, "ok", text, "the second half is in force")
				}
				if name != w.File {
					require.NoError(t, os.Remove(name))
				}
				w.Reload(config()) // without it
				return short
			})
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
	// reported changes a file soon after a reload or a start and reports whether that is noticed. On a busy machine the change
	// may come more than a second after it.
	reported := func(w *weirtest.Weir, change func() error) bool {
		count := func() int { return len(w.Records(func(r weirtest.Record) bool { return r.IsEvent("reload_stale") })) }
		before := count()
		require.NoError(t, change())
		for began := time.Now(); time.Since(began) < 3*time.Second; time.Sleep(10 * time.Millisecond) {
			if count() > before {
				return true
			}
		}
		return false
	}
	nettest.Wait(t, time.Minute, "the report", func() bool {
		reload()
		return reported(w, func() error { return os.WriteFile(w.File, []byte(text+"# more\n"), 0o600) })
	})
	r := w.Records(func(r weirtest.Record) bool { return r.IsEvent("reload_stale") })[0]
	require.Equal(t, []any{w.File}, r["files"])
	nettest.Wait(t, 15*time.Second, "the problem", func() bool { return strings.Contains(a.MustRunCommand("status"), "reload again") })
	require.Contains(t, a.MustRunCommand("status"), w.File)
	require.Contains(t, a.MustRunCommand("events"), "reload_stale")
	reload()
	require.NotContains(t, a.MustRunCommand("status"), "reload again")

	// A start reports too.
	l := weirtest.Config{Listen: nettest.Reserve(t), Levels: weirtest.OneLevel(host.Addr())}
	nettest.Wait(t, time.Minute, "a start that reports the change", func() bool {
		other := weirtest.Start(t, l.String())
		if reported(other, func() error { return os.Chtimes(other.File, time.Time{}, time.Now()) }) {
			return true
		}
		other.Signal(syscall.SIGTERM)
		<-other.Done
		return false
	})
}

// keepYoung changes the time of a file until the returned function is called, so that a reload waits for it. The function returns
// the longest time between two changes.
func keepYoung(path string) (stop func() time.Duration) {
	done, ended := make(chan struct{}), make(chan struct{})
	last, longest := time.Now(), time.Duration(0)
	touch := func() {
		now := time.Now()
		os.Chtimes(path, time.Time{}, now)
		longest = max(longest, time.Since(last))
		last = now
	}
	touch()
	go func() {
		defer close(ended)
		for {
			select {
			case <-done:
				touch()
				return
			case <-time.After(20 * time.Millisecond):
				touch()
			}
		}
	}()
	return func() time.Duration {
		close(done)
		<-ended
		return longest
	}
}

// waitLimit is the time after which a start or reload does not wait longer for files.
const waitLimit = 2 * time.Second

// While a reload waits for a file, signals are handled: log files are reopened and a stop is immediate.
func TestSignalsDuringWaitForFile(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.SendText("ok"))
	nettest.Wait(t, time.Minute, "an attempt that is quick enough", func() bool {
		l := weirtest.Config{Listen: nettest.Reserve(t), Levels: weirtest.OneLevel(host.Addr())}
		w := weirtest.Start(t, l.String())
		stop := keepYoung(w.File)
		began := time.Now()
		w.Signal(syscall.SIGHUP)
		reopened := func(r weirtest.Record) bool { return r.Text("msg") == "log file reopened" }
		for n := 1; n <= 5; n++ { // the reload is waiting for most of them
			w.Signal(syscall.SIGUSR1)
			nettest.Wait(t, 15*time.Second, "the log to be reopened", func() bool { return len(w.Records(reopened)) == n })
		}
		w.Signal(syscall.SIGTERM)
		require.Zero(t, w.WaitExit(15*time.Second))
		inTime := stop() < quiet && time.Since(began) < waitLimit
		if inTime {
			require.Empty(t, w.Events("reload", "reload_failed"), "the reload was waiting")
		}
		return inTime
	})
}

// A start that waits for a file ends immediately at a stop, and a reload signal does not end it.
func TestSignalsDuringWaitOfStart(t *testing.T) {
	t.Parallel()
	nettest.Wait(t, time.Minute, "an attempt that is quick enough", func() bool {
		dir := t.TempDir()
		included, pipe := filepath.Join(dir, "more.toml"), filepath.Join(dir, "pipe")
		require.NoError(t, os.WriteFile(included, []byte("# more\n"), 0o600))
		stop := keepYoung(included)
		require.NoError(t, exec.Command("mkfifo", pipe).Run())
		cmd := exec.Command(weirtest.Binary, "run", "-c", pipe)
		cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
		var output bytes.Buffer
		cmd.Stderr = &output
		require.NoError(t, cmd.Start())
		l := weirtest.Config{Listen: nettest.Reserve(t), Levels: weirtest.OneLevel("127.0.0.1:1")}
		text := "include = [\"" + included + "\"]\n" + l.String()
		require.NoError(t, os.WriteFile(pipe, []byte(text), 0)) // returns when weir has begun to read
		began := time.Now()
		require.NoError(t, cmd.Process.Signal(syscall.SIGHUP))
		require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
		require.NoError(t, cmd.Wait(), "exit code 0")
		inTime := stop() < quiet && time.Since(began) < waitLimit
		if inTime {
			require.NotContains(t, output.String(), `"ready"`, "the start was waiting")
		}
		return inTime
	})
}
