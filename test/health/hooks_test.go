// Event hooks of the built binary.

package health_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

func execHook(name, on, shell, more string) string {
	return fmt.Sprintf("[[event]]\nname = %q\non = [%s]\nexec = [\"/bin/sh\", \"-c\", %q]\n%s\n", name, on, shell, more)
}

// Programs and URLs get each selected transition once, in order, with all of its attributes.
func TestHooks(t *testing.T) {
	t.Parallel()
	rec := &nettest.Recorder{Banner: "A", CloseSide: true}
	host, other := nettest.Start(t, rec.Handle), nettest.Start(t, (&nettest.Recorder{Banner: "B", CloseSide: true}).Handle)
	all := weirtest.StartWebhook(t, 1)
	out := filepath.Join(t.TempDir(), "out")
	w, addr, a := weirtest.ServeAPI(t, weirtest.Config{
		Levels: [][]string{{host.Addr() + " name=A"}, {other.Addr() + " name=B"}}, Checks: weirtest.QuickCheck,
		More: execHook("program", `"level_change"`, `{ cat; echo "$WEIR_EVENT $WEIR_CLUSTER $WEIR_LEVEL $WEIR_SERVER $WEIR_FROM>$WEIR_TO $WEIR_LAYER $WEIR_TIME"; } >>`+out, "") +
			fmt.Sprintf("[[event]]\nname = \"all\"\nurl = %q\n", all.URL),
	})
	require.Equal(t, "A", weirtest.ReadSessions(t, addr, 1))
	host.Down()
	w.WaitEvents("level_change", 1)
	host.Up()
	w.WaitEvents("level_change", 2)
	w.Reload(a.AddTo(strings.Replace(weirtest.ReadFile(t, w.File), "weight=1", "weight=2", 1)))
	w.FailReload("[[listener]]\n")
	want := []string{
		"server_down A up→down", "level_change 1→2", "server_up A down→up", "level_change 2→1", "reload", "reload_failed",
	}
	nettest.Wait(t, 20*time.Second, "the webhook to be told", func() bool { return len(all.Events()) >= len(want) })
	require.Equal(t, want, all.Events())
	first := all.Record(0)
	for key, want := range map[string]any{"cluster": "c", "level": "1", "server": "A", "from": "up", "to": "down", "layer": "checks"} {
		require.Equal(t, want, first[key], key)
	}
	require.NotEmpty(t, first.Text("reason"))
	at, err := time.Parse(time.RFC3339Nano, first.Text("time"))
	require.NoError(t, err)
	require.WithinDuration(t, time.Now(), at, time.Minute)
	require.Contains(t, all.Record(5).Text("reason"), "missing key name")

	var lines []string
	nettest.Wait(t, 15*time.Second, "the program to be told", func() bool {
		lines = strings.Split(strings.TrimSpace(weirtest.ReadFile(t, out)), "\n")
		return len(lines) == 4
	})
	var ev weirtest.Record
	require.NoError(t, json.Unmarshal([]byte(lines[0]), &ev))
	require.Equal(t, "level_change 1→2", weirtest.FormatEvent(ev))
	require.Equal(t, "level_change c 2  1>2 "+ev.Text("layer")+" "+ev.Text("time"), lines[1])
	require.NoError(t, json.Unmarshal([]byte(lines[2]), &ev))
	require.Equal(t, "level_change 2→1", weirtest.FormatEvent(ev))

	a.WaitDelivered(2, 6)
	require.Contains(t, a.MustDo("GET /metrics", ""), `weir_events_delivered_total{hook="all"} 6`)
	require.Empty(t, weirtest.ChildProcesses(w.Cmd.Process.Pid))
}

// A hanging hook blocks no session, no reload and no stop. Missed events are counted, its processes are killed, and
// another hook gets all events up to the end.
func TestHangingHook(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, (&nettest.Recorder{Banner: "A", CloseSide: true}).Handle)
	all := weirtest.StartWebhook(t, 0)
	out := filepath.Join(t.TempDir(), "pids")
	l := weirtest.Config{
		Levels: weirtest.OneLevel(host.Addr()+" name=A", "127.0.0.1:1 name=B state=maint"),
		More:   execHook("stuck", "", "sleep 300 & echo $! $$ >"+out+"; wait", `timeout = "1h"`) + fmt.Sprintf("[[event]]\nname = \"all\"\nurl = %q\n", all.URL),
	}
	w, addr, a := weirtest.ServeAPI(t, l)
	began := time.Now()
	for i := range 5 {
		a.MustDo("PATCH /v1/clusters/c/servers/A", `{"state": "drain"}`)
		a.MustDo("PATCH /v1/clusters/c/servers/A", `{"state": null}`)
		require.Equal(t, "A", weirtest.ReadSessions(t, addr, 1))
		if i == 2 {
			w.SignalReload("reload")
		}
	}
	require.Less(t, nettest.Elapsed(began), 10*time.Second)
	const events = 5*4 + 1
	nettest.Wait(t, 15*time.Second, "the other hook", func() bool { return len(all.Events()) == events })
	nettest.Wait(t, 15*time.Second, "the program to start", func() bool { return strings.HasSuffix(weirtest.ReadFile(t, out), "\n") })
	stuck := a.Get("hooks", 0).(map[string]any)
	require.Equal(t, []any{"stuck", "exec", float64(events), 0.0}, []any{stuck["name"], stuck["kind"], stuck["queued"], stuck["dropped"]})
	a.MustDo("PATCH /v1/clusters/c/servers/A", `{"state": "drain"}`)
	began = time.Now()
	w.Signal(syscall.SIGTERM)
	require.Zero(t, w.WaitExit(15*time.Second))
	require.Less(t, nettest.Elapsed(began), 4*time.Second)
	require.Equal(t, events+2, len(all.Events()), "those of the last moment")
	require.NotEmpty(t, w.Records(func(r weirtest.Record) bool { return r.Text("hook") == "stuck" && r.Int("dropped") == events+2 }))
	for _, pid := range strings.Fields(weirtest.ReadFile(t, out)) {
		nettest.Wait(t, 15*time.Second, pid+" to be gone", func() bool {
			text, err := os.ReadFile("/proc/" + pid + "/stat")
			return err != nil || strings.Contains(string(text), ") Z ")
		})
	}
}

// After an upgrade one process runs the hooks, once for each event.
func TestHooksAfterUpgrade(t *testing.T) {
	t.Parallel()
	rec := &nettest.Recorder{Banner: "A", CloseSide: true}
	host := nettest.Start(t, rec.Handle)
	all := weirtest.StartWebhook(t, 0)
	w, addr, a := weirtest.ServeAPI(t, weirtest.Config{
		Levels: [][]string{{host.Addr() + " name=A"}, {"127.0.0.1:1 name=B state=maint"}}, Checks: weirtest.QuickCheck, Cluster: "protected = false",
		More: fmt.Sprintf("[[event]]\nname = \"all\"\non = [\"server_down\", \"server_up\"]\nurl = %q\n", all.URL),
	})
	require.Equal(t, "A", weirtest.ReadSessions(t, addr, 1))
	w.Upgrade()
	host.Down()
	w.WaitEvents("server_down", 1)
	host.Up()
	nettest.Wait(t, 20*time.Second, "the webhook to be told", func() bool { return len(all.Events()) >= 2 })
	require.Equal(t, []string{"server_down A up→down", "server_up A down→up"}, all.Events())
	a.WaitDelivered(2)
}

// A missing hook program is reported by weir check, and makes a start and a reload fail.
func TestHookWithoutProgram(t *testing.T) {
	t.Parallel()
	l := weirtest.Config{Listen: nettest.Reserve(t), Levels: weirtest.OneLevel("127.0.0.1:1 name=B")}
	w := weirtest.Start(t, l.String())
	l.More = "[[event]]\nname = \"gone\"\nexec = [\"/nonexistent/program\"]\n"
	r := w.FailReload(l.String())
	require.Contains(t, r.Text("error"), "event[0].exec: exec: ")
	code, output := weirtest.RunCommand(t, "check", "-c", w.File)
	require.Equal(t, 1, code)
	require.Contains(t, output, "event[0].exec: exec: ")
}

// A stop waits a second for hooks; stop --now does not.
func TestStopNowWithHangingHook(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	for _, code := range []int{0, 3} {
		l := weirtest.Config{Listen: nettest.Reserve(t), Levels: weirtest.OneLevel(host.Addr()), More: "[[event]]\nname = \"h\"\nexec = [\"/bin/sleep\", \"60\"]\ntimeout = \"50s\"\n"}
		w := weirtest.Start(t, l.String())
		w.Reload(l.String()) // which is an event
		if code == 3 {
			require.NoError(t, weirtest.PingPong(nettest.Dial(t, l.Listen)))
		}
		w.Signal(syscall.SIGTERM)
		w.WaitRecord(15*time.Second, "the stop", func(r weirtest.Record) bool { return r.Text("msg") == "stopping" })
		begin := time.Now()
		w.Signal(syscall.SIGTERM)
		require.Equal(t, code, w.WaitExit(15*time.Second))
		require.Less(t, nettest.Elapsed(begin), weirtest.Bound(700*time.Millisecond))
	}
}
