// Hooks: whoever is to be told of events, through the built binary.

package main_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
)

// pager takes events that are posted to it, and refuses the first ones if it is told to.
type pager struct {
	url string

	mu     sync.Mutex
	refuse int
	events []record
}

func newPager(t *testing.T, refuse int) *pager {
	p := &pager{refuse: refuse}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var ev record
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.refuse > 0 || json.Unmarshal(body, &ev) != nil {
			p.refuse--
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		p.events = append(p.events, ev)
	}))
	t.Cleanup(s.Close)
	p.url = s.URL
	return p
}

// told is what has come so far, as "event server from→to".
func (p *pager) told() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := []string{}
	for _, r := range p.events {
		out = append(out, brief(r))
	}
	return out
}

func brief(r record) string {
	text := r.str("event")
	if r.str("server") != "" {
		text += " " + r.str("server")
	}
	if r.str("from") != "" {
		text += " " + r.str("from") + "→" + r.str("to")
	}
	return text
}

// quickCheck finds out within half a second, and leaves a busy machine the time to answer.
const quickCheck = "[[cluster.c.check]]\ntype = \"tcp\"\ninterval = \"500ms\"\ndown_interval = \"100ms\"\nrise = 1\nfall = 1\n"

func execHook(name, on, shell, more string) string {
	return fmt.Sprintf("[[event]]\nname = %q\non = [%s]\nexec = [\"/bin/sh\", \"-c\", %q]\n%s\n", name, on, shell, more)
}

// children are the processes that a process has started and not waited for.
func children(pid int) (pids []string) {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, t := range tasks {
		text, _ := os.ReadFile(t)
		pids = append(pids, strings.Fields(string(text))...)
	}
	return pids
}

// Programs and URLs are told of transitions once, in order, with everything that is known; each only of what it is for.
func TestHooks(t *testing.T) {
	t.Parallel()
	rec := &nettest.Recorder{Banner: "A", CloseSide: true}
	host, other := nettest.Start(t, rec.Handle), nettest.Start(t, (&nettest.Recorder{Banner: "B", CloseSide: true}).Handle)
	all := newPager(t, 1)
	out := filepath.Join(t.TempDir(), "out")
	w, addr, a := administered(t, layout{
		levels: [][]string{{host.Addr() + " name=A"}, {other.Addr() + " name=B"}}, checks: quickCheck,
		more: execHook("program", `"level_change"`, `{ cat; echo "$WEIR_EVENT $WEIR_CLUSTER $WEIR_LEVEL $WEIR_SERVER $WEIR_FROM>$WEIR_TO $WEIR_LAYER $WEIR_TIME"; } >>`+out, "") +
			fmt.Sprintf("[[event]]\nname = \"all\"\nurl = %q\n", all.url),
	})
	require.Equal(t, "A", sequence(t, addr, 1))
	host.Down()
	w.told("level_change", 1)
	host.Up()
	w.told("level_change", 2)
	w.reload(a.at(strings.Replace(readFile(t, w.file), "weight=1", "weight=2", 1)))
	w.reloadFails("[[listener]]\n")
	want := []string{
		"server_down A up→down", "level_change 1→2", "server_up A down→up", "level_change 2→1", "reload", "reload_failed",
	}
	nettest.Wait(t, 10*time.Second, "the pager to be told", func() bool { return len(all.told()) >= len(want) })
	require.Equal(t, want, all.told())
	first := all.events[0]
	for key, want := range map[string]any{"cluster": "c", "level": "1", "server": "A", "from": "up", "to": "down", "layer": "checks"} {
		require.Equal(t, want, first[key], key)
	}
	require.NotEmpty(t, first.str("reason"))
	at, err := time.Parse(time.RFC3339Nano, first.str("time"))
	require.NoError(t, err)
	require.WithinDuration(t, time.Now(), at, time.Minute)
	require.Contains(t, all.events[5].str("reason"), "missing key name")

	var lines []string
	nettest.Wait(t, 5*time.Second, "the program to be told", func() bool {
		lines = strings.Split(strings.TrimSpace(readFile(t, out)), "\n")
		return len(lines) == 4
	})
	var ev record
	require.NoError(t, json.Unmarshal([]byte(lines[0]), &ev))
	require.Equal(t, "level_change 1→2", brief(ev))
	require.Equal(t, "level_change c 2  1>2 "+ev.str("layer")+" "+ev.str("time"), lines[1])
	require.NoError(t, json.Unmarshal([]byte(lines[2]), &ev))
	require.Equal(t, "level_change 2→1", brief(ev))

	a.delivered(2, 6)
	require.Contains(t, a.ok("GET /metrics", ""), `weir_events_delivered_total{hook="all"} 6`)
	require.Empty(t, children(w.cmd.Process.Pid))
}

// delivered waits until the hooks have taken so many events each, and none has missed any.
func (a api) delivered(want ...int) {
	a.t.Helper()
	nettest.Wait(a.t, 5*time.Second, fmt.Sprintf("%d events to be delivered", want), func() bool {
		var got []int
		for _, h := range a.get("hooks").([]any) {
			h := h.(map[string]any)
			require.Zero(a.t, h["dropped"], h["name"])
			got = append(got, int(h["delivered"].(float64)))
		}
		return slices.Equal(want, got)
	})
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if !os.IsNotExist(err) {
		require.NoError(t, err)
	}
	return string(text)
}

// A hook that hangs holds up no session, no reload and no stop. What it has missed is counted, what it has started is
// gone, and another hook hears of everything up to the end.
func TestHookThatHangs(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, (&nettest.Recorder{Banner: "A", CloseSide: true}).Handle)
	all := newPager(t, 0)
	out := filepath.Join(t.TempDir(), "pids")
	l := layout{
		levels: servers(host.Addr()+" name=A", "127.0.0.1:1 name=B state=maint"),
		more:   execHook("stuck", "", "sleep 300 & echo $! $$ >"+out+"; wait", `timeout = "1h"`) + fmt.Sprintf("[[event]]\nname = \"all\"\nurl = %q\n", all.url),
	}
	w, addr, a := administered(t, l)
	began := time.Now()
	for i := range 5 {
		a.ok("PATCH /v1/clusters/c/servers/A", `{"state": "drain"}`)
		a.ok("PATCH /v1/clusters/c/servers/A", `{"state": null}`)
		require.Equal(t, "A", sequence(t, addr, 1))
		if i == 2 {
			w.hup("reload")
		}
	}
	require.Less(t, nettest.Elapsed(began), 10*time.Second)
	const events = 5*4 + 1
	nettest.Wait(t, 5*time.Second, "the other hook", func() bool { return len(all.told()) == events })
	nettest.Wait(t, 5*time.Second, "the program to start", func() bool { return strings.HasSuffix(readFile(t, out), "\n") })
	stuck := a.get("hooks", 0).(map[string]any)
	require.Equal(t, []any{"stuck", "exec", float64(events), 0.0}, []any{stuck["name"], stuck["kind"], stuck["queued"], stuck["dropped"]})
	a.ok("PATCH /v1/clusters/c/servers/A", `{"state": "drain"}`)
	began = time.Now()
	w.signal(syscall.SIGTERM)
	require.Zero(t, w.exit(5*time.Second))
	require.Less(t, nettest.Elapsed(began), 4*time.Second)
	require.Equal(t, events+2, len(all.told()), "those of the last moment")
	require.NotEmpty(t, w.all(func(r record) bool { return r.str("hook") == "stuck" && r.num("missed") == events+2 }))
	for _, pid := range strings.Fields(readFile(t, out)) {
		nettest.Wait(t, 5*time.Second, pid+" to be gone", func() bool {
			text, err := os.ReadFile("/proc/" + pid + "/stat")
			return err != nil || strings.Contains(string(text), ") Z ")
		})
	}
}

// After an upgrade one process tells, each event once.
func TestHooksAfterAnUpgrade(t *testing.T) {
	t.Parallel()
	rec := &nettest.Recorder{Banner: "A", CloseSide: true}
	host := nettest.Start(t, rec.Handle)
	all := newPager(t, 0)
	w, addr, a := administered(t, layout{
		levels: [][]string{{host.Addr() + " name=A"}, {"127.0.0.1:1 name=B state=maint"}}, checks: quickCheck, cluster: "protected = false",
		more: fmt.Sprintf("[[event]]\nname = \"all\"\non = [\"server_down\", \"server_up\"]\nurl = %q\n", all.url),
	})
	require.Equal(t, "A", sequence(t, addr, 1))
	w.upgrade()
	host.Down()
	w.told("server_down", 1)
	host.Up()
	nettest.Wait(t, 10*time.Second, "the pager to be told", func() bool { return len(all.told()) >= 2 })
	require.Equal(t, []string{"server_down A up→down", "server_up A down→up"}, all.told())
	a.delivered(2)
}

// A program that is not there is told by check, keeps weir from starting, and refuses a reload.
func TestHookWithoutProgram(t *testing.T) {
	t.Parallel()
	l := layout{listen: nettest.Reserve(t), levels: servers("127.0.0.1:1 name=B")}
	w := start(t, l.String())
	l.more = "[[event]]\nname = \"gone\"\nexec = [\"/nonexistent/program\"]\n"
	r := w.reloadFails(l.String())
	require.Contains(t, r.str("error"), "event[0].exec: exec: ")
	code, output := run(t, "check", "-c", w.file)
	require.Equal(t, 1, code)
	require.Contains(t, output, "event[0].exec: exec: ")
}

// A stop gives hooks a second; one that is to be at once does not.
func TestStopAtOnceWithHangingHook(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	for _, code := range []int{0, 3} {
		l := layout{listen: nettest.Reserve(t), levels: servers(host.Addr()), more: "[[event]]\nname = \"h\"\nexec = [\"/bin/sleep\", \"60\"]\ntimeout = \"50s\"\n"}
		w := start(t, l.String())
		w.reload(l.String()) // which is an event
		if code == 3 {
			require.NoError(t, pingpong(nettest.Dial(t, l.listen)))
		}
		w.signal(syscall.SIGTERM)
		w.waitRecord(5*time.Second, "the stop", func(r record) bool { return r.str("msg") == "stopping" })
		begin := time.Now()
		w.signal(syscall.SIGTERM)
		require.Equal(t, code, w.exit(5*time.Second))
		require.Less(t, nettest.Elapsed(begin), 700*time.Millisecond)
	}
}
