// What runtime.state_file keeps for the next process.

package reload_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// A killed weir restarts with all runtime changes and verdicts: a server that was down gets no session before its check
// passes, a drained one gets none at all, an added one exists, and a removed one does not.
func TestStateSurvivesKill(t *testing.T) {
	t.Parallel()
	hosts := weirtest.StartLetters(t, "ABCDE")
	sick := nettest.Reserve(t) // the port of D's check, closed at first
	_, port, _ := strings.Cut(sick, ":")
	line, path := weirtest.StateFile(t)
	l := weirtest.Config{
		Listen: nettest.Reserve(t), Runtime: line, Levels: [][]string{weirtest.WeightedLevel(hosts, "A B C D")},
		Checks: "[[cluster.c.check]]\ntype = \"tcp\"\ninterval = \"300ms\"\nfall = 1\nrise = 2\nservers = [\"D\"]\nport = " + port + "\n",
	}
	a := weirtest.NewAPI(t)
	w := weirtest.Start(t, a.AddTo(l.String()))
	w.WaitEvent("server_down", "D")
	a.MustRunCommand("server", "c/A", "drain", "--reason", "new kernel")
	a.MustRunCommand("server", "c/B", "remove")
	a.MustRunCommand("server", "c/E", "add", hosts["E"].Addr(), "weight=2")
	weirtest.WaitSaved(t, path, "new kernel", `"removed"`, `"added"`, `"down": true`)
	w.Kill()

	before := hosts["D"].Accepted()
	w = weirtest.Start(t, a.AddTo(l.String()))
	require.Equal(t, "ECEECEECE", weirtest.ReadSessions(t, l.Listen, 9))
	require.Equal(t, before, hosts["D"].Accepted())
	require.Contains(t, a.MustRunCommand("explain", "c/A"), "new kernel")
	require.Empty(t, w.Records(func(r weirtest.Record) bool { return r.IsEvent("server_down") }), "nothing has happened")
	well := nettest.StartAt(t, sick, nettest.Echo)
	defer well.Close()
	w.WaitEvent("server_up", "D")
	require.Contains(t, weirtest.ReadSessions(t, l.Listen, 8), "D")

	// A file without the removed server ends the removal: the server may be added to the file again.
	l.Levels = [][]string{weirtest.WeightedLevel(hosts, "A C D")}
	w.Reload(a.AddTo(l.String()))
	l.Levels = [][]string{weirtest.WeightedLevel(hosts, "A B C D")}
	w.Reload(a.AddTo(l.String()))
	require.Contains(t, weirtest.ReadSessions(t, l.Listen, 8), "B")
	a.MustRunCommand("server", "c/A", "reset")
	w.Signal(syscall.SIGTERM)
	require.Equal(t, 0, w.WaitExit(10*time.Second))
	weirtest.Start(t, a.AddTo(l.String()))
	require.Contains(t, weirtest.ReadSessions(t, l.Listen, 8), "A")
}

// However often weir is killed during changes, the file is complete, and no older than promised.
func TestKillsWhileStateChanges(t *testing.T) {
	t.Parallel()
	line, path := weirtest.StateFile(t)
	l := weirtest.Config{Listen: nettest.Reserve(t), Runtime: line, Levels: weirtest.OneLevel("127.0.0.1:1 name=s")}
	a := weirtest.NewAPI(t)
	n := 0
	for range weirtest.Scaled(6) {
		w := weirtest.Start(t, a.AddTo(l.String()))
		type saying struct {
			n  int
			at time.Time
		}
		var told []saying
		var mu sync.Mutex
		stop := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				n++
				req, _ := http.NewRequest(http.MethodPatch, "http://weir/v1/clusters/c/servers/s", strings.NewReader(fmt.Sprintf(`{"max_sessions": %d}`, n)))
				res, err := a.HTTP.Do(req)
				if err == nil && res.Body.Close() == nil && res.StatusCode == http.StatusOK {
					mu.Lock()
					told = append(told, saying{n, time.Now()})
					mu.Unlock()
				}
				time.Sleep(time.Millisecond)
			}
		})
		time.Sleep(time.Duration(300+rand.IntN(1200)) * time.Millisecond)
		killed := time.Now()
		w.Kill()
		close(stop)
		wg.Wait()

		w = weirtest.Start(t, a.AddTo(l.String()))
		require.Empty(t, w.Records(func(r weirtest.Record) bool { return strings.HasPrefix(r.Text("msg"), "state file") }))
		said := 0
		for _, s := range told {
			if killed.Sub(s.at) > loss {
				said = s.n
			}
		}
		kept, _ := a.Get("clusters", 0, "levels", 0, "servers", 0, "max_sessions").(float64)
		require.GreaterOrEqual(t, int(kept), said, "of %d", n)
		w.Kill()
	}
	files, err := filepath.Glob(path + "*")
	require.NoError(t, err)
	require.LessOrEqual(t, len(files), 2, "%v", files) // the file, and one that was being written
}

// loss is the maximum age of the state that a killed weir may lose: the promise, plus what a busy machine is given.
const loss = 500*time.Millisecond + time.Second

// Runtime changes survive an upgrade, with and without a state file.
func TestStateSurvivesUpgrade(t *testing.T) {
	t.Parallel()
	hosts := weirtest.StartLetters(t, "ABC")
	for _, with := range []bool{false, true} {
		l := weirtest.Config{Listen: nettest.Reserve(t), Levels: [][]string{weirtest.WeightedLevel(hosts, "A B")}}
		var path string
		if with {
			l.Runtime, path = weirtest.StateFile(t)
		}
		a := weirtest.NewAPI(t)
		w := weirtest.Options{Program: weirtest.CopyProgram(t)}.Start(t, a.AddTo(l.String()))
		a.MustRunCommand("server", "c/A", "maint", "--reason", "new kernel")
		a.MustRunCommand("server", "c/C", "add", hosts["C"].Addr())
		for range 2 {
			w.Upgrade()
			require.Equal(t, "BCBC", weirtest.ReadSessions(t, l.Listen, 4))
			require.Contains(t, a.MustRunCommand("explain", "c/A"), "new kernel")
		}
		a.MustRunCommand("server", "c/A", "reset")
		if with {
			weirtest.WaitSaved(t, path, `"C"`)
			nettest.Wait(t, 15*time.Second, "the new process to write the file", func() bool {
				text, err := os.ReadFile(path)
				return err == nil && !strings.Contains(string(text), "new kernel")
			})
		}
	}
}

// An unusable file or directory is logged and has no other effect.
func TestUnusableStateFile(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.SendText("ok"))
	line, path := weirtest.StateFile(t)
	require.NoError(t, os.WriteFile(path, []byte("\x00\xffgarbage"), 0o600))
	l := weirtest.Config{Runtime: line, Levels: weirtest.OneLevel(host.Addr())}
	w, addr, a := weirtest.ServeAPI(t, l)
	text, _ := weirtest.ReadSession(addr)
	require.Equal(t, "ok", text)
	r := w.WaitRecord(15*time.Second, "the warning", func(r weirtest.Record) bool { return r.Text("msg") == "state file: cannot be used" })
	require.Contains(t, r.Text("error"), path+":1:1: ")
	require.FileExists(t, r.Text("set_aside"))
	weirtest.WaitSaved(t, path, "weir state")
	require.Contains(t, a.MustRunCommand("status"), "state file")

	l = weirtest.Config{Runtime: `state_file = "/proc/weir/state.json"`, Levels: weirtest.OneLevel(host.Addr())}
	w, addr, a = weirtest.ServeAPI(t, l)
	text, _ = weirtest.ReadSession(addr)
	require.Equal(t, "ok", text)
	w.WaitRecord(15*time.Second, "the warning", func(r weirtest.Record) bool { return strings.HasPrefix(r.Text("msg"), "state file: cannot be written") })
	require.Contains(t, a.MustRunCommand("status"), "state file")
	require.Equal(t, "0", a.Metric("weir_state_file_writable"))
}

// A runtime change that was acknowledged survives a kill, however soon that comes.
func TestAcknowledgedChangeSurvivesKill(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.SendText("ok"))
	line, _ := weirtest.StateFile(t)
	l := weirtest.Config{Listen: nettest.Reserve(t), Runtime: line, Levels: weirtest.OneLevel(host.Addr()+" name=s", host.Addr()+" name=other")}
	a := weirtest.NewAPI(t)
	w := weirtest.Start(t, a.AddTo(l.String()))
	for _, change := range [][]string{
		{"server", "c/s", "maint", "--reason", "new kernel"},
		{"server", "c/s", "weight", "7"},
		{"server", "c/n", "add", host.Addr()},
		{"server", "c/other", "remove"},
	} {
		a.MustRunCommand(change...)
		w.Kill()
		w = weirtest.Start(t, a.AddTo(l.String()))
	}
	shown := a.MustRunCommand("explain", "c/s")
	require.Contains(t, shown, "maint")
	require.Contains(t, shown, "new kernel", "another weight is no other reason")
	require.Contains(t, shown, "weight 7")
	a.MustRunCommand("explain", "c/n")
	require.Contains(t, a.MustRunCommand("status"), "removed at run time: other")
}
