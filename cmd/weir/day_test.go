package main_test

import (
	"bytes"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
)

// watcher is a `weir events -f` and what it has printed.
type watcher struct {
	t    *testing.T
	cmd  *exec.Cmd
	mu   sync.Mutex
	text bytes.Buffer
}

func (w *watcher) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.Write(p)
}

// watch follows the events until the test ends or weir does.
func (a api) watch() *watcher {
	w := &watcher{t: a.t, cmd: exec.Command(binary, "events", "-f", "--admin", "unix:"+a.socket)}
	w.cmd.Stdout = w
	w.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(a.t, w.cmd.Start())
	a.t.Cleanup(w.stop)
	return w
}

// stop ends it: by itself it would go on with the next weir at the same socket.
func (w *watcher) stop() {
	w.cmd.Process.Kill()
	w.cmd.Wait()
}

// sees waits for a line that has all of the words.
func (w *watcher) sees(words ...string) {
	w.t.Helper()
	nettest.Wait(w.t, 5*time.Second, fmt.Sprintf("an event with %q", words), func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		for line := range strings.Lines(w.text.String()) {
			all := true
			for _, word := range words {
				all = all && strings.Contains(line, word)
			}
			if all {
				return true
			}
		}
		return false
	})
}

// metric is the value of one line of the metrics, by its name and labels.
func (a api) metric(line string) string {
	a.t.Helper()
	for text := range strings.Lines(a.ok("GET /metrics", "")) {
		if value, ok := strings.CutPrefix(text, line+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// server is what the status document says of a server of cluster c.
func (a api) server(name string) map[string]any {
	a.t.Helper()
	for _, level := range a.get("clusters", 0, "levels").([]any) {
		for _, s := range level.(map[string]any)["servers"].([]any) {
			if s := s.(map[string]any); s["name"] == name {
				return s
			}
		}
	}
	return nil
}

// A day in the life: start, watch, drain one server, give another more weight, add a third, lose a fourth and ask why, go
// over to another configuration, restart. Every step shows in the status, in the events, at the hook and in the metrics,
// and what was said at run time is still there after the restart.
func TestADay(t *testing.T) {
	t.Parallel()
	host := map[string]*nettest.Host{}
	for _, name := range []string{"A", "B", "C", "D"} {
		host[name] = nettest.Start(t, nettest.SendText(name))
	}
	named := func(name string) string { return host[name].Addr() + " name=" + name }
	pager := newPager(t, 0)
	state, path := stateful(t)
	l := layout{
		listen: nettest.Reserve(t), runtime: state, levels: servers(named("A"), named("B"), named("D")), checks: quickCheck,
		more: fmt.Sprintf("[[event]]\nname = \"pager\"\non = [\"server_state\", \"server_down\", \"server_up\", \"reload\"]\nurl = %q\n", pager.url),
	}
	a := newAPI(t)
	w := start(t, a.at(l.String()))
	share := func(name string) int { return strings.Count(sequence(t, l.listen, 12), name) }
	pages := func(n int, last string) {
		t.Helper()
		var told []string
		defer func() {
			if t.Failed() {
				t.Logf("the pager was told of %q", told)
			}
		}()
		nettest.Wait(t, 5*time.Second, "the pager to hear of "+last, func() bool {
			told = pager.told()
			return len(told) >= n && told[n-1] == last
		})
	}

	// Morning: all is well.
	require.Equal(t, []int{4, 4, 4}, []int{share("A"), share("B"), share("D")})
	require.Contains(t, a.done("status"), "all is well")
	require.Equal(t, "3", a.metric(`weir_cluster_servers{cluster="c",state="up"}`))
	events := a.watch()

	// A gets a new kernel.
	a.done("server", "c/A", "drain", "--reason", "new kernel")
	events.sees("server_state", "A", "drain")
	pages(1, "server_state A up→drain")
	require.Equal(t, "drain", a.server("A")["state"])
	require.Equal(t, "new kernel", a.server("A")["reason"])
	require.Equal(t, "1", a.metric(`weir_server_state{cluster="c",server="A",state="drain"}`))
	require.Zero(t, share("A"))

	// B has been given more memory.
	a.done("server", "c/B", "weight", "2")
	require.Equal(t, 2.0, a.server("B")["weight"])
	require.Equal(t, "2", a.metric(`weir_server_weight{cluster="c",level="1",server="B"}`))
	require.Equal(t, 8, share("B"))

	// C is new.
	a.ok("POST /v1/clusters/c/servers", fmt.Sprintf(`{"name": "C", "address": %q}`, host["C"].Addr()))
	require.Equal(t, "api", a.server("C")["origin"])
	require.Equal(t, 3, share("C"))
	require.NotEqual(t, "0", a.metric(`weir_server_sessions_total{cluster="c",server="C"}`))

	// D dies.
	host["D"].Down()
	events.sees("server_down", "D")
	pages(2, "server_down D up→down")
	out := a.done("explain", "c/D")
	require.Contains(t, out, "is down")
	require.Contains(t, out, "connection refused")
	require.Contains(t, a.done("status"), "D: down")
	require.Equal(t, "1", a.metric(`weir_server_state{cluster="c",server="D",state="down"}`))
	require.NotEqual(t, "0", a.metric(`weir_check_results_total{check="tcp",cluster="c",result="fail",server="D"}`))
	require.Zero(t, share("D"))

	// The file gets other timeouts and another listener. What was said at run time stays.
	second := nettest.Reserve(t)
	l.cluster = `connect_timeout = "700ms"`
	l.more += fmt.Sprintf("[[listener]]\nname = \"second\"\naddress = %q\ncluster = \"c\"\n", second)
	w.write(a.at(l.String()))
	out = a.done("plan")
	require.Contains(t, out, "connect_timeout 2s → 700ms")
	require.Contains(t, out, "add listener second")
	a.done("reload")
	events.sees("reload")
	pages(3, "reload")
	require.Equal(t, "1", a.metric(`weir_reloads_total{result="done"}`))
	require.NotEqual(t, "-", sequence(t, second, 1))
	require.Equal(t, []any{"drain", 2.0, "api", "down"},
		[]any{a.server("A")["state"], a.server("B")["weight"], a.server("C")["origin"], a.server("D")["state"]})
	w.write("[[listener]]\n")
	code, out := a.weirs("reload")
	require.Equal(t, 1, code, out)
	require.Contains(t, a.done("status"), "the last reload was refused")
	require.Equal(t, "0", a.metric("weir_config_last_reload_successful"))
	w.write(a.at(l.String()))

	// The machine is restarted.
	events.stop()
	saved(t, path, "new kernel", host["C"].Addr())
	a.done("stop")
	require.Zero(t, w.exit(5*time.Second))
	start(t, a.at(l.String()))
	require.Equal(t, []any{"drain", "new kernel", 2.0, "api", "down"},
		[]any{a.server("A")["state"], a.server("A")["reason"], a.server("B")["weight"], a.server("C")["origin"], a.server("D")["state"]})
	require.Equal(t, []int{0, 8, 4, 0}, []int{share("A"), share("B"), share("C"), share("D")})
	require.Equal(t, "1", a.metric(`weir_server_state{cluster="c",server="A",state="drain"}`))

	// Evening: everything as it was.
	events = a.watch()
	host["D"].Up()
	events.sees("server_up", "D")
	a.done("server", "c/A", "reset")
	events.sees("server_up", "A")
	pages(5, "server_up A drain→up")
	a.done("server", "c/B", "reset")
	a.done("server", "c/C", "remove")
	require.Equal(t, []int{4, 4, 0, 4}, []int{share("A"), share("B"), share("C"), share("D")})
	require.Contains(t, a.done("status"), "all is well")
	a.delivered(2)
	require.Equal(t, "2", a.metric(`weir_events_delivered_total{hook="pager"}`))
}
