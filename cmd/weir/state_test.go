// What outlasts the process: runtime.state_file.

package main_test

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
)

// stateful is a line of [runtime] for a state file of the test's own.
func stateful(t *testing.T) (line, path string) {
	path = filepath.Join(t.TempDir(), "state.json")
	return fmt.Sprintf("state_file = %q\n", path), path
}

// kill ends weir as nothing else does.
func (w *weir) kill() {
	w.signal(syscall.SIGKILL)
	<-w.done
}

// saved waits until the state file holds all of the texts.
func saved(t *testing.T, path string, texts ...string) {
	t.Helper()
	nettest.Wait(t, 5*time.Second, "the state to be written", func() bool {
		have, err := os.ReadFile(path)
		for _, text := range texts {
			if err != nil || !strings.Contains(string(have), text) {
				return false
			}
		}
		return true
	})
}

// A killed weir comes back with everything that was said: a server that was down gets not one session before its check
// has let it in, one that was drained none at all, one that was added is there, and one that was removed is not.
func TestStateOutlastsAKill(t *testing.T) {
	t.Parallel()
	hosts := letters(t, "ABCDE")
	sick := nettest.Reserve(t) // D's check looks here, where nobody is at first
	_, port, _ := strings.Cut(sick, ":")
	line, path := stateful(t)
	l := layout{
		listen: nettest.Reserve(t), runtime: line, levels: [][]string{weighted(hosts, "A B C D")},
		checks: "[[cluster.c.check]]\ntype = \"tcp\"\ninterval = \"300ms\"\nfall = 1\nrise = 2\nservers = [\"D\"]\nport = " + port + "\n",
	}
	a := newAPI(t)
	w := start(t, a.at(l.String()))
	w.waitEvent("server_down", "D")
	a.done("server", "c/A", "drain", "--reason", "new kernel")
	a.done("server", "c/B", "remove")
	a.done("server", "c/E", "add", hosts["E"].Addr(), "weight=2")
	saved(t, path, "new kernel", `"removed"`, `"added"`, `"down": true`)
	w.kill()

	before := hosts["D"].Accepted()
	w = start(t, a.at(l.String()))
	require.Equal(t, "ECEECEECE", sequence(t, l.listen, 9))
	require.Equal(t, before, hosts["D"].Accepted())
	require.Contains(t, a.done("explain", "c/A"), "new kernel")
	require.Empty(t, w.all(func(r record) bool { return r.is("server_down") }), "nothing has happened")
	well := nettest.StartAt(t, sick, nettest.Echo)
	defer well.Close()
	w.waitEvent("server_up", "D")
	require.Contains(t, sequence(t, l.listen, 8), "D")

	// The file has its say on what was removed: when it has not named the server for once, it may name it again.
	l.levels = [][]string{weighted(hosts, "A C D")}
	w.reload(a.at(l.String()))
	l.levels = [][]string{weighted(hosts, "A B C D")}
	w.reload(a.at(l.String()))
	require.Contains(t, sequence(t, l.listen, 8), "B")
	a.done("server", "c/A", "reset")
	w.signal(syscall.SIGTERM)
	require.Equal(t, 0, w.exit(10*time.Second))
	start(t, a.at(l.String()))
	require.Contains(t, sequence(t, l.listen, 8), "A")
}

// However often weir is killed while it is told things, the file is whole, and no older than it may be.
func TestKillsWhileStateChanges(t *testing.T) {
	t.Parallel()
	line, path := stateful(t)
	l := layout{listen: nettest.Reserve(t), runtime: line, levels: servers("127.0.0.1:1 name=s")}
	a := newAPI(t)
	n := 0
	for range scaled(6) {
		w := start(t, a.at(l.String()))
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
				res, err := a.http.Do(req)
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
		w.kill()
		close(stop)
		wg.Wait()

		w = start(t, a.at(l.String()))
		require.Empty(t, w.all(func(r record) bool { return strings.HasPrefix(r.str("msg"), "state file") }))
		said := 0
		for _, s := range told {
			if killed.Sub(s.at) > loss {
				said = s.n
			}
		}
		kept, _ := a.get("clusters", 0, "levels", 0, "servers", 0, "max_sessions").(float64)
		require.GreaterOrEqual(t, int(kept), said, "of %d", n)
		w.kill()
	}
	files, err := filepath.Glob(path + "*")
	require.NoError(t, err)
	require.LessOrEqual(t, len(files), 2, "%v", files) // the file, and one that was being written
}

// loss is how old what a killed weir has forgotten may be: what it promises, and what a busy machine is given.
const loss = 500*time.Millisecond + time.Second

// What was said is still true after an upgrade, with a state file or without.
func TestStateOutlastsAnUpgrade(t *testing.T) {
	t.Parallel()
	hosts := letters(t, "ABC")
	for _, with := range []bool{false, true} {
		l := layout{listen: nettest.Reserve(t), levels: [][]string{weighted(hosts, "A B")}}
		var path string
		if with {
			l.runtime, path = stateful(t)
		}
		a := newAPI(t)
		w := launch{program: program(t)}.start(t, a.at(l.String()))
		a.done("server", "c/A", "maint", "--reason", "new kernel")
		a.done("server", "c/C", "add", hosts["C"].Addr())
		for range 2 {
			w.upgrade()
			require.Equal(t, "BCBC", sequence(t, l.listen, 4))
			require.Contains(t, a.done("explain", "c/A"), "new kernel")
		}
		a.done("server", "c/A", "reset")
		if with {
			saved(t, path, `"C"`)
			nettest.Wait(t, 5*time.Second, "the new process to write the file", func() bool {
				text, err := os.ReadFile(path)
				return err == nil && !strings.Contains(string(text), "new kernel")
			})
		}
	}
}

// A file that cannot be used, or a directory that cannot be written to, is told of and no more.
func TestStateFileThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.SendText("ok"))
	line, path := stateful(t)
	require.NoError(t, os.WriteFile(path, []byte("\x00\xffgarbage"), 0o600))
	l := layout{runtime: line, levels: servers(host.Addr())}
	w, addr, a := administered(t, l)
	text, _ := ask(addr)
	require.Equal(t, "ok", text)
	r := w.waitRecord(5*time.Second, "the warning", func(r record) bool { return r.str("msg") == "state file: cannot be used" })
	require.Contains(t, r.str("error"), path+":1:1: ")
	require.FileExists(t, r.str("set_aside"))
	saved(t, path, "weir state")
	require.Contains(t, a.done("status"), "state file")

	l = layout{runtime: `state_file = "/proc/weir/state.json"`, levels: servers(host.Addr())}
	w, addr, a = administered(t, l)
	text, _ = ask(addr)
	require.Equal(t, "ok", text)
	w.waitRecord(5*time.Second, "the warning", func(r record) bool { return strings.HasPrefix(r.str("msg"), "state file: cannot be written") })
	require.Contains(t, a.done("status"), "state file")
	require.Equal(t, "0", a.metric("weir_state_file_writable"))
}

// What an operator was answered is true after a kill, however soon that comes.
func TestAnsweredChangeOutlastsAKillAtOnce(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.SendText("ok"))
	line, _ := stateful(t)
	l := layout{listen: nettest.Reserve(t), runtime: line, levels: servers(host.Addr()+" name=s", host.Addr()+" name=other")}
	a := newAPI(t)
	w := start(t, a.at(l.String()))
	for _, change := range [][]string{
		{"server", "c/s", "maint", "--reason", "new kernel"},
		{"server", "c/s", "weight", "7"},
		{"server", "c/n", "add", host.Addr()},
		{"server", "c/other", "remove"},
	} {
		a.done(change...)
		w.kill()
		w = start(t, a.at(l.String()))
	}
	shown := a.done("explain", "c/s")
	require.Contains(t, shown, "maint")
	require.Contains(t, shown, "new kernel", "another weight is no other reason")
	require.Contains(t, shown, "weight 7")
	a.done("explain", "c/n")
	require.Contains(t, a.done("status"), "removed at run time: other")
}
