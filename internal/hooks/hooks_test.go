package hooks

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/conf"
	"weir/internal/nettest"
	"weir/internal/status"
)

// newSet returns a set of hooks that is closed at the end of the test.
func newSet(t *testing.T, specs ...conf.Hook) *Set {
	s := New(slog.New(slog.DiscardHandler))
	s.Update(specs)
	t.Cleanup(s.Close)
	return s
}

// writeScript writes a shell script and returns its command.
func writeScript(t *testing.T, lines string) []string {
	path := filepath.Join(t.TempDir(), "hook")
	require.NoError(t, os.WriteFile(path, []byte(lines), 0o644))
	return []string{"/bin/sh", path}
}

func newEvent(kind string, id uint64) status.Event {
	return status.Event{ID: id, Time: time.Now(), Event: kind, Cluster: "c", Level: "1", Server: "a", From: "up", To: "down", Layer: "checks", Reason: "tcp: refused"}
}

// waitIdle waits until a hook's queue is empty and returns its status.
func waitIdle(t *testing.T, s *Set) status.Hook {
	t.Helper()
	var h status.Hook
	nettest.Wait(t, 10*time.Second, "the hook to be done", func() bool {
		h = s.Status()[0]
		return h.Queued == 0
	})
	return h
}

// httpServer replies to posts with a given status and records them.
type httpServer struct {
	*httptest.Server
	mu  sync.Mutex
	ids []uint64
}

func newHTTPServer(t *testing.T, answer func(n int) int) *httpServer {
	h := &httpServer{}
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var ev status.Event
		body, _ := io.ReadAll(r.Body)
		if json.Unmarshal(body, &ev) != nil || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		h.mu.Lock()
		h.ids = append(h.ids, ev.ID)
		n := len(h.ids)
		h.mu.Unlock()
		w.WriteHeader(answer(n))
	}))
	t.Cleanup(h.Close)
	return h
}

func (h *httpServer) received() []uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]uint64(nil), h.ids...)
}

// A program gets the event on its standard input and in its environment. It gets no descriptor but its own three and
// no variable that the service manager set for weir.
func TestExecHookGetsEvent(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "/run/x")
	t.Setenv("WEIR_SERVER", "other")
	out := filepath.Join(t.TempDir(), "out")
	s := newSet(t, conf.Hook{Name: "n", Timeout: 10 * time.Second, Exec: append(writeScript(t,
		`{ cat; env | grep -E '^(WEIR_|NOTIFY)' | sort; for f in /proc/$$/fd/*; do readlink $f; done; echo "$1"; } >`+out+`.new; mv `+out+`.new `+out), "an argument")})
	ev := newEvent("server_down", 7)
	ev.Time = time.Date(2026, 1, 31, 12, 0, 0, 5, time.UTC)
	ev.Level, ev.Reason = "", "said \x00 \"no\"\nwell"
	s.Enqueue(ev)
	require.Equal(t, uint64(1), waitIdle(t, s).Delivered)
	text, err := os.ReadFile(out)
	require.NoError(t, err)
	line, rest, _ := strings.Cut(string(text), "\n")
	var got status.Event
	require.NoError(t, json.Unmarshal([]byte(line), &got))
	require.Equal(t, ev, got)
	for _, want := range []string{
		"WEIR_EVENT=server_down\n", "WEIR_TIME=2026-01-31T12:00:00.000000005Z\n", "WEIR_CLUSTER=c\n", "WEIR_LEVEL=\n", "WEIR_SERVER=a\n",
		"WEIR_FROM=up\n", "WEIR_TO=down\n", "WEIR_LAYER=checks\n", "WEIR_REASON=said  \"no\"\n", "an argument\n",
		"WEIR_LISTENER=\n", "WEIR_COUNT=\n",
	} {
		require.Contains(t, rest, want)
	}
	require.NotContains(t, rest, "NOTIFY")
	require.NotContains(t, rest, "socket:")
	require.NotContains(t, rest, "eventpoll")
}

// A reason longer than the limit of a variable is cut in the environment and complete in the JSON.
func TestLongReasonIsCutInEnvironment(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	s := newSet(t, conf.Hook{Name: "n", Timeout: 10 * time.Second, Exec: writeScript(t, "wc -c >"+out+`; printf %s "$WEIR_REASON" | wc -c >>`+out)})
	ev := newEvent("reload_failed", 1)
	ev.Reason = strings.Repeat("x", 1<<20)
	s.Enqueue(ev)
	require.Equal(t, uint64(1), waitIdle(t, s).Delivered)
	text, err := os.ReadFile(out)
	require.NoError(t, err)
	var whole, variable int
	_, err = fmt.Sscan(string(text), &whole, &variable)
	require.NoError(t, err)
	require.Greater(t, whole, 1<<20)
	require.Equal(t, maxVariable, variable+len("WEIR_REASON="))
}

// A hook gets the events that it selects, in order, and no others.
func TestHookGetsSelectedEventsInOrder(t *testing.T) {
	h := newHTTPServer(t, func(int) int { return 204 })
	s := newSet(t, conf.Hook{Name: "n", On: []string{"server_up", "server_down"}, URL: h.URL, Timeout: 10 * time.Second})
	var want []uint64
	for id := range uint64(60) {
		kind := []string{"server_up", "server_down", "reload"}[id%3]
		s.Enqueue(newEvent(kind, id))
		if kind != "reload" {
			want = append(want, id)
		}
	}
	require.Equal(t, uint64(40), waitIdle(t, s).Delivered)
	require.Equal(t, want, h.received())
}

// A failed request is repeated until it succeeds. The next event waits for that.
func TestFailedRequestIsRetriedInOrder(t *testing.T) {
	t.Parallel()
	h := newHTTPServer(t, func(n int) int {
		if n <= 2 {
			return 503
		}
		return 200
	})
	s := newSet(t, conf.Hook{Name: "n", URL: h.URL, Timeout: 10 * time.Second})
	s.Enqueue(newEvent("server_down", 1))
	s.Enqueue(newEvent("server_up", 2))
	got := waitIdle(t, s)
	require.Equal(t, []uint64{1, 1, 1, 2}, h.received())
	require.Equal(t, uint64(2), got.Delivered)
	require.Zero(t, got.Dropped)
}

// An event is dropped at once after a permanent error and after maxAttempts temporary errors. The error does not contain the URL.
func TestPermanentErrorDropsEvent(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer int
		tries  int
	}{"not found": {404, 1}, "redirect": {302, 1}, "broken": {500, maxAttempts}, "too many requests": {429, maxAttempts}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHTTPServer(t, func(int) int { return c.answer })
			s := newSet(t, conf.Hook{Name: "n", URL: h.URL + "/secret", Timeout: 10 * time.Second})
			s.Enqueue(newEvent("server_down", 1))
			got := waitIdle(t, s)
			require.Len(t, h.received(), c.tries)
			require.Equal(t, uint64(1), got.Dropped)
			require.Contains(t, got.LastError, fmt.Sprintf("want status 2xx, got %d", c.answer))
			require.NotContains(t, got.LastError, "secret")
		})
	}
}

// A host that never replies only costs the event.
func TestUnresponsiveURLDropsEvent(t *testing.T) {
	t.Parallel()
	silent := nettest.Start(t, nettest.Silent)
	s := newSet(t, conf.Hook{Name: "n", URL: "http://user:geheim@" + silent.Addr() + "/x", Timeout: 20 * time.Millisecond})
	s.Enqueue(newEvent("server_down", 1))
	got := waitIdle(t, s)
	require.Equal(t, uint64(1), got.Dropped)
	require.Equal(t, "no answer within 20ms", got.LastError)
	require.NotNil(t, got.LastErrorAt)
}

// A program that fails is not repeated. The error contains its exit code and its first line.
func TestFailingExecHookDropsEvent(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	s := newSet(t, conf.Hook{Name: "n", Exec: writeScript(t, "echo x >>"+out+"; echo; echo 'no such pager' >&2; exit 3"), Timeout: 10 * time.Second})
	s.Enqueue(newEvent("server_down", 1))
	got := waitIdle(t, s)
	require.Equal(t, uint64(1), got.Dropped)
	require.Equal(t, `exit status 3: "no such pager"`, got.LastError)
	text, err := os.ReadFile(out)
	require.NoError(t, err)
	require.Equal(t, "x\n", string(text))
}

// alive reports whether a process runs. A zombie does not.
func alive(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(text), ") Z ")
}

// readPIDs waits for the process numbers that a script writes to a file.
func readPIDs(t *testing.T, path string, n int) []int {
	t.Helper()
	var pids []int
	nettest.Wait(t, 10*time.Second, "the program to start", func() bool {
		text, _ := os.ReadFile(path)
		words := strings.Fields(string(text))
		pids = pids[:0]
		for _, w := range words {
			pid, _ := strconv.Atoi(w)
			pids = append(pids, pid)
		}
		return len(pids) == n && strings.HasSuffix(string(text), "\n")
	})
	return pids
}

// A program that takes too long is killed with its process group. A process that holds its output open after its end is killed too.
func TestExecHookIsKilledWithProcessGroup(t *testing.T) {
	t.Parallel()
	for name, last := range map[string]string{"hangs": "wait", "leaves something behind": "exit 0"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out := filepath.Join(t.TempDir(), "pids")
			s := newSet(t, conf.Hook{Name: "n", Exec: writeScript(t, "sleep 300 & echo $! $$ >"+out+"; "+last), Timeout: 2 * time.Second})
			s.Enqueue(newEvent("server_down", 1))
			pids := readPIDs(t, out, 2)
			got := waitIdle(t, s)
			nettest.Wait(t, 15*time.Second, "the group to be gone", func() bool { return !alive(pids[0]) && !alive(pids[1]) })
			require.Equal(t, last == "wait", got.Dropped == 1)
			if last == "wait" {
				require.Equal(t, "killed after 2s", got.LastError)
			}
		})
	}
}

// A hook that hangs delays neither Enqueue nor other hooks. If its queue is full, the oldest event is dropped
// and counted.
func TestSlowHookDelaysNothing(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	slow := newHTTPServer(t, func(int) int { <-release; return 200 })
	quick := newHTTPServer(t, func(int) int { return 200 })
	s := newSet(t, conf.Hook{Name: "slow", URL: slow.URL, Timeout: time.Minute}, conf.Hook{Name: "quick", On: []string{"reload"}, URL: quick.URL, Timeout: time.Minute})
	s.Enqueue(newEvent("server_down", 1))
	nettest.Wait(t, 15*time.Second, "the first to be sent", func() bool { return len(slow.received()) == 1 })
	const more = queueSize + 100
	for id := range uint64(more) {
		s.Enqueue(newEvent("server_down", id+2))
	}
	s.Enqueue(newEvent("reload", 9999))
	nettest.Wait(t, 15*time.Second, "the other hook", func() bool { return len(quick.received()) == 1 })
	now := s.Status()[0]
	require.Equal(t, queueSize+1, now.Queued)
	require.Equal(t, uint64(101), now.Dropped)
	close(release)
	got := waitIdle(t, s)
	require.Equal(t, uint64(queueSize+1), got.Delivered)
	require.Equal(t, uint64(101), got.Dropped)
	ids := slow.received()
	require.Equal(t, uint64(1), ids[0])
	require.Equal(t, uint64(103), ids[1])
	require.Equal(t, uint64(9999), ids[queueSize])
}

// A hook that a reload keeps delivers its queue with the new settings. A removed hook has drainTimeout to deliver its queue.
func TestUpdateKeepsQueue(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	old := newHTTPServer(t, func(int) int { <-release; return 200 })
	fresh := newHTTPServer(t, func(int) int { return 200 })
	s := newSet(t, conf.Hook{Name: "n", URL: old.URL, Timeout: time.Minute})
	for id := range uint64(5) {
		s.Enqueue(newEvent("server_down", id))
	}
	nettest.Wait(t, 15*time.Second, "the first to be sent", func() bool { return len(old.received()) == 1 })
	s.Update([]conf.Hook{{Name: "other", URL: fresh.URL, On: []string{"reload"}, Timeout: time.Minute}, {Name: "n", URL: fresh.URL, Timeout: time.Minute}})
	close(release)
	nettest.Wait(t, 15*time.Second, "the rest", func() bool { return len(fresh.received()) == 4 })
	require.Equal(t, []uint64{0}, old.received())
	require.Equal(t, []uint64{1, 2, 3, 4}, fresh.received())
	nettest.Wait(t, 15*time.Second, "the last to count", func() bool { return s.Status()[1].Delivered == 5 })

	out := filepath.Join(t.TempDir(), "pids")
	s.Update([]conf.Hook{{Name: "stuck", Exec: writeScript(t, "echo $$ >"+out+"; sleep 300"), Timeout: time.Minute}})
	require.Len(t, s.Status(), 1)
	s.Enqueue(newEvent("server_down", 9))
	pid := readPIDs(t, out, 1)[0]
	s.Update(nil)
	require.Empty(t, s.Status())
	nettest.Wait(t, drainTimeout+5*time.Second, "the program to be killed", func() bool { return !alive(pid) })
}

// After StopAccepting only queued events are delivered.
func TestStopAcceptingDiscardsNewEvents(t *testing.T) {
	h := newHTTPServer(t, func(int) int { return 200 })
	s := newSet(t, conf.Hook{Name: "n", URL: h.URL, Timeout: time.Minute})
	s.Enqueue(newEvent("server_down", 1))
	s.StopAccepting()
	s.Enqueue(newEvent("server_up", 2))
	s.Close()
	require.Equal(t, []uint64{1}, h.received())
}

// Close waits for queued events, but not longer than drainTimeout.
func TestCloseDrainsHooks(t *testing.T) {
	t.Parallel()
	h := newHTTPServer(t, func(int) int { return 200 })
	s := newSet(t, conf.Hook{Name: "n", URL: h.URL, Timeout: time.Minute})
	for id := range uint64(20) {
		s.Enqueue(newEvent("server_down", id))
	}
	s.Close()
	require.Len(t, h.received(), 20)

	out := filepath.Join(t.TempDir(), "pids")
	s = newSet(t, conf.Hook{Name: "n", Exec: writeScript(t, "echo $$ >"+out+"; sleep 300"), Timeout: time.Minute})
	for id := range uint64(3) {
		s.Enqueue(newEvent("server_down", id))
	}
	pid := readPIDs(t, out, 1)[0]
	began := time.Now()
	s.Close()
	require.Less(t, nettest.Elapsed(began), drainTimeout+8*time.Second)
	require.False(t, alive(pid))
	require.Equal(t, uint64(3), s.Status()[0].Dropped)
	s.Enqueue(newEvent("server_down", 4))
	s.Update([]conf.Hook{{Name: "late", URL: h.URL, Timeout: time.Minute}})
	require.Equal(t, "n", s.Status()[0].Name)
}

// The first dropped event is logged at once, later ones in one message.
func TestDroppedEventsAreLogged(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var log strings.Builder
	s := New(slog.New(slog.NewTextHandler(writer(func(p []byte) {
		mu.Lock()
		defer mu.Unlock()
		log.Write(p)
	}), nil)))
	s.Update([]conf.Hook{{Name: "n", Exec: []string{"/bin/false"}, Timeout: time.Minute}})
	for id := range uint64(50) {
		s.Enqueue(newEvent("server_down", id))
	}
	waitIdle(t, s)
	s.Close()
	mu.Lock()
	defer mu.Unlock()
	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	require.Len(t, lines, 2, log.String())
	require.Contains(t, lines[0], `hook=n dropped=1 error="exit status 1"`)
	require.Contains(t, lines[1], `hook=n dropped=49 error="exit status 1"`)
}

type writer func([]byte)

func (w writer) Write(p []byte) (int, error) { w(p); return len(p), nil }

func TestCheckFindsMissingProgram(t *testing.T) {
	require.NoError(t, Check(&conf.Hook{Exec: []string{"/bin/true"}}))
	require.NoError(t, Check(&conf.Hook{Exec: []string{"true"}}))
	require.NoError(t, Check(&conf.Hook{URL: "http://hook.example/"}))
	require.ErrorContains(t, Check(&conf.Hook{Exec: []string{"/nonexistent/x"}}), "exec: ")
}

// A full queue drops the events of the cluster that has most of them.
func TestFullQueueKeepsEventsOfOtherClusters(t *testing.T) {
	h := newHook(conf.Hook{Name: "h"}, slog.New(slog.DiscardHandler))
	h.enqueue(status.Event{Event: "cluster_empty", Cluster: "victim"})
	for i := range 3 * queueSize {
		h.enqueue(status.Event{Event: "cluster_back", Cluster: "noisy", Reason: fmt.Sprint(i)})
		if i%100 == 0 {
			h.enqueue(status.Event{Event: "reload"})
		}
	}
	require.Len(t, h.queue, queueSize)
	require.Equal(t, "victim", h.queue[0].Cluster)
	reloads := 0
	last := -1
	for _, ev := range h.queue[1:] {
		if ev.Cluster == "" {
			reloads++
			continue
		}
		var n int
		_, err := fmt.Sscan(ev.Reason, &n)
		require.NoError(t, err)
		require.Greater(t, n, last, "in order")
		last = n
	}
	require.Equal(t, 30, reloads)
	require.Equal(t, 3*queueSize-1, last)
}
