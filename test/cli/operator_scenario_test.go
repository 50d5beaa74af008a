package cli_test

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
	"weir/internal/weirtest"
)

// eventWatcher is a `weir events -f` and its output.
type eventWatcher struct {
	t    *testing.T
	cmd  *exec.Cmd
	mu   sync.Mutex
	text bytes.Buffer
}

func (w *eventWatcher) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.Write(p)
}

// startEventWatcher follows the events until the test or weir ends.
func startEventWatcher(a weirtest.API) *eventWatcher {
	w := &eventWatcher{t: a.T, cmd: exec.Command(weirtest.Binary, "events", "-f", "--admin", "unix:"+a.Socket)}
	w.cmd.Stdout = w
	w.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(a.T, w.cmd.Start())
	a.T.Cleanup(w.stop)
	return w
}

// stop ends it: by itself it would continue with the next weir at the same socket.
func (w *eventWatcher) stop() {
	w.cmd.Process.Kill()
	w.cmd.Wait()
}

// sees waits for a line with all of the words.
func (w *eventWatcher) sees(words ...string) {
	w.t.Helper()
	nettest.Wait(w.t, 15*time.Second, fmt.Sprintf("an event with %q", words), func() bool {
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

// An operator starts weir, watches it, drains one server, changes the weight of another, adds a third, loses a fourth
// and looks up why, reloads another configuration, and restarts weir. Every step shows in the status, in the events, at
// the hook and in the metrics, and runtime changes survive the restart.
func TestOperatorScenario(t *testing.T) {
	t.Parallel()
	host := map[string]*nettest.Host{}
	for _, name := range []string{"A", "B", "C", "D"} {
		host[name] = nettest.Start(t, nettest.SendText(name))
	}
	named := func(name string) string { return host[name].Addr() + " name=" + name }
	webhook := weirtest.StartWebhook(t, 0)
	state, path := weirtest.StateFile(t)
	l := weirtest.Config{
		Listen: nettest.Reserve(t), Runtime: state, Levels: weirtest.OneLevel(named("A"), named("B"), named("D")), Checks: weirtest.QuickCheck,
		More: fmt.Sprintf("[[event]]\nname = \"webhook\"\non = [\"server_state\", \"server_down\", \"server_up\", \"reload\"]\nurl = %q\n", webhook.URL),
	}
	a := weirtest.NewAPI(t)
	w := weirtest.Start(t, a.AddTo(l.String()))
	share := func(name string) int { return strings.Count(weirtest.ReadSessions(t, l.Listen, 12), name) }
	pages := func(n int, last string) {
		t.Helper()
		var told []string
		defer func() {
			if t.Failed() {
				t.Logf("the webhook received %q", told)
			}
		}()
		nettest.Wait(t, 15*time.Second, "the webhook to receive "+last, func() bool {
			told = webhook.Events()
			return len(told) >= n && told[n-1] == last
		})
	}

	// Start: no problems.
	require.Equal(t, []int{4, 4, 4}, []int{share("A"), share("B"), share("D")})
	require.Contains(t, a.MustRunCommand("status"), "no problems")
	require.Equal(t, "3", a.Metric(`weir_cluster_servers{cluster="c",state="up"}`))
	events := startEventWatcher(a)

	// A gets a new kernel.
	a.MustRunCommand("server", "c/A", "drain", "--reason", "new kernel")
	events.sees("server_state", "A", "drain")
	pages(1, "server_state A up→drain")
	require.Equal(t, "drain", a.Server("A")["state"])
	require.Equal(t, "new kernel", a.Server("A")["reason"])
	require.Equal(t, "1", a.Metric(`weir_server_state{cluster="c",server="A",state="drain"}`))
	require.Zero(t, share("A"))

	// B gets more memory.
	a.MustRunCommand("server", "c/B", "weight", "2")
	require.Equal(t, 2.0, a.Server("B")["weight"])
	require.Equal(t, "2", a.Metric(`weir_server_weight{cluster="c",level="1",server="B"}`))
	require.Equal(t, 8, share("B"))

	// Add C.
	a.MustDo("POST /v1/clusters/c/servers", fmt.Sprintf(`{"name": "C", "address": %q}`, host["C"].Addr()))
	require.Equal(t, "api", a.Server("C")["origin"])
	require.Equal(t, 3, share("C"))
	require.NotEqual(t, "0", a.Metric(`weir_server_sessions_total{cluster="c",server="C"}`))

	// D fails.
	host["D"].Down()
	events.sees("server_down", "D")
	pages(2, "server_down D up→down")
	out := a.MustRunCommand("explain", "c/D")
	require.Contains(t, out, "is down")
	require.Contains(t, out, "connection refused")
	require.Contains(t, a.MustRunCommand("status"), "D: down")
	require.Equal(t, "1", a.Metric(`weir_server_state{cluster="c",server="D",state="down"}`))
	require.NotEqual(t, "0", a.Metric(`weir_check_results_total{check="tcp",cluster="c",result="fail",server="D"}`))
	require.Zero(t, share("D"))

	// The file changes timeouts and adds a listener. Runtime changes stay.
	second := nettest.Reserve(t)
	l.Cluster = `connect_timeout = "700ms"`
	l.More += fmt.Sprintf("[[listener]]\nname = \"second\"\naddress = %q\ncluster = \"c\"\n", second)
	w.WriteConfig(a.AddTo(l.String()))
	out = a.MustRunCommand("plan")
	require.Contains(t, out, "connect_timeout 2s → 700ms")
	require.Contains(t, out, "add listener second")
	a.MustRunCommand("reload")
	events.sees("reload")
	pages(3, "reload")
	require.Equal(t, "1", a.Metric(`weir_reloads_total{result="success"}`))
	require.NotEqual(t, "-", weirtest.ReadSessions(t, second, 1))
	require.Equal(t, []any{"drain", 2.0, "api", "down"},
		[]any{a.Server("A")["state"], a.Server("B")["weight"], a.Server("C")["origin"], a.Server("D")["state"]})
	w.WriteConfig("[[listener]]\n")
	code, out := a.RunCommand("reload")
	require.Equal(t, 1, code, out)
	require.Contains(t, a.MustRunCommand("status"), "last reload failed")
	require.Equal(t, "0", a.Metric("weir_config_last_reload_successful"))
	w.WriteConfig(a.AddTo(l.String()))

	// The machine restarts.
	events.stop()
	weirtest.WaitSaved(t, path, "new kernel", host["C"].Addr())
	a.MustRunCommand("stop")
	require.Zero(t, w.WaitExit(15*time.Second))
	weirtest.Start(t, a.AddTo(l.String()))
	require.Equal(t, []any{"drain", "new kernel", 2.0, "api", "down"},
		[]any{a.Server("A")["state"], a.Server("A")["reason"], a.Server("B")["weight"], a.Server("C")["origin"], a.Server("D")["state"]})
	require.Equal(t, []int{0, 8, 4, 0}, []int{share("A"), share("B"), share("C"), share("D")})
	require.Equal(t, "1", a.Metric(`weir_server_state{cluster="c",server="A",state="drain"}`))

	// Undo every change.
	events = startEventWatcher(a)
	host["D"].Up()
	events.sees("server_up", "D")
	a.MustRunCommand("server", "c/A", "reset")
	events.sees("server_state", "A")
	pages(5, "server_state A drain→up")
	a.MustRunCommand("server", "c/B", "reset")
	a.MustRunCommand("server", "c/C", "remove")
	require.Equal(t, []int{4, 4, 0, 4}, []int{share("A"), share("B"), share("C"), share("D")})
	require.Contains(t, a.MustRunCommand("status"), "no problems")
	a.WaitDelivered(2)
	require.Equal(t, "2", a.Metric(`weir_events_delivered_total{hook="webhook"}`))
}
