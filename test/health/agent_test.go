// Agent checks, from the reply on the wire to the distribution of sessions.

package health_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// talker is an agent whose reply the test sets.
type talker struct {
	*nettest.Host
	line atomic.Value // string; with its line end
	told atomic.Int64 // questions answered since it last changed
}

func newTalker(t *testing.T, line string) *talker {
	a := &talker{}
	a.line.Store(line)
	a.Host = nettest.Start(t, func(ctx context.Context, c *net.TCPConn) {
		nettest.SendText(a.line.Load().(string))(ctx, c)
		a.told.Add(1)
	})
	return a
}

// says changes the agent's reply and returns when it is in effect: weir has got an invalid one several times, or a valid one so
// often that the last request began after the first reply was applied. An answer that is late has no effect.
func (a *talker) says(api weirtest.API, line string) {
	t := api.T
	t.Helper()
	a.line.Store(line)
	a.told.Store(0)
	results := func(result string) (n int) {
		for text := range strings.Lines(api.MustDo("GET /metrics", "")) {
			if strings.HasPrefix(text, `weir_check_results_total{check="agent`) && strings.Contains(text, `result="`+result+`"`) {
				value, err := strconv.Atoi(strings.TrimSpace(text[strings.LastIndex(text, " "):]))
				require.NoError(t, err)
				n += value
			}
		}
		return n
	}
	passed, failed := results("pass"), results("fail")
	nettest.Wait(t, 20*time.Second, "the agent to be asked", func() bool {
		return a.told.Load() >= 3 && (results("pass") >= passed+3 || results("fail") >= failed+6)
	})
}

func (a *talker) port() string {
	_, port, _ := net.SplitHostPort(a.Addr())
	return port
}

// agentCheck returns an agent check of the server named A.
func agentCheck(a *talker, more string) string {
	return fmt.Sprintf("[[cluster.c.check]]\ntype = \"agent\"\nport = %s\ninterval = \"80ms\"\ntimeout = \"80ms\"\nservers = [\"A\"]\n%s\n", a.port(), more)
}

// twoServers returns A, which has an agent, and B, each with a weight of 10.
func twoServers(t *testing.T) (a, b *nettest.Host, list [][]string) {
	a, b = nettest.Start(t, nettest.SendText("A")), nettest.Start(t, nettest.SendText("B"))
	return a, b, weirtest.OneLevel(a.Addr()+" name=A weight=10", b.Addr()+" name=B weight=10")
}

// shareOfA returns how many of n consecutive sessions A serves.
func shareOfA(t *testing.T, addr string, n int) int {
	t.Helper()
	return strings.Count(weirtest.ReadSessions(t, addr, n), "A")
}

func TestAgentReplies(t *testing.T) {
	t.Parallel()
	_, _, list := twoServers(t)
	a := newTalker(t, "up\n")
	w, addr, api := weirtest.ServeAPI(t, weirtest.Config{Levels: list, Checks: agentCheck(a, "")})
	for _, c := range []struct {
		line string
		of30 int // of 30 sessions, those that go to A
	}{
		{"up\n", 15},
		{"50%\n", 10},
		{"50%\n", 10}, // of the configured weight, not of the last one
		{"up\n", 10},  // what a line does not mention stays
		{"weight:20\n", 20},
		{"weight:50%\n", 10},
		{"0%\n", 0},
		{"100%\n", 15},
		{"weight:0\n", 0},
		{"200%\n", 20},
		{"100% drain\n", 0},
		{"50%\n", 0},
		{"ready\n", 10},
		{"MAINT\n", 0},
		{"100%\n", 0},
		{"Ready\r\n", 15},
		{"down # disk full\n", 0},
		{"ready\n", 0},
		{"UP\n", 15},
		{"fail\n", 0},
		{"up\n", 15},
		{"failed\n", 0},
		{"up\n", 15},
		{"stopped\n", 0},
		{"\t, up ,, \t50%\n", 10},
		{"upgrading setup download maintenance upstopped\n", 10},
		{"down#disk\n", 10},
		{"up\ndrain\n", 10},             // one line only
		{"down", 10},                    // no line
		{strings.Repeat("x", 1025), 10}, // no line in sight
		{"100%,maxconn:30,maint,down\n", 0},
		{"ready\n", 0},
		{"up\n", 15},
	} {
		a.says(api, c.line)
		got := shareOfA(t, addr, 30)
		require.InDelta(t, c.of30, got, map[bool]float64{false: 2, true: 0}[c.of30 == 0], "%q", c.line)
	}
	down := w.WaitRecord(15*time.Second, "the agent's word as the reason", func(r weirtest.Record) bool {
		return r.IsEvent("server_down") && strings.Contains(r.Text("reason"), "disk full")
	})
	require.Equal(t, "agent", down.Text("layer"))
	require.Equal(t, "ready 100% down #disk full", down.Text("reason"))

	// One warning for each unknown word and for each run of invalid replies, however often they come.
	var words []string
	for _, r := range w.Records(func(r weirtest.Record) bool { return strings.HasPrefix(r.Text("msg"), "agent check: unknown word") }) {
		words = append(words, r.Text("word"))
	}
	require.Equal(t, []string{"upgrading", "down#disk"}, words)
	require.Len(t, w.Records(func(r weirtest.Record) bool { return strings.HasPrefix(r.Text("msg"), "agent check: incomplete reply") }), 1)
}

// The agent's advice is one layer among others.
func TestAgentAmongOtherLayers(t *testing.T) {
	t.Parallel()
	a, _, list := twoServers(t)
	says := newTalker(t, "ready up\n")
	tcp := "[[cluster.c.check]]\ntype = \"tcp\"\ninterval = \"300ms\"\ntimeout = \"300ms\"\ndown_interval = \"50ms\"\nservers = [\"A\"]\nrise = 1\nfall = 1\n"
	l := weirtest.Config{Levels: list, Cluster: "max_fails = 0", Checks: agentCheck(says, "") + tcp}
	w, addr, api := weirtest.ServeAPI(t, l)
	l.Listen = addr

	// A failing check wins over the agent's up, and the agent's down wins over a passing check.
	a.Down()
	w.WaitRecord(15*time.Second, "A to go down", func(r weirtest.Record) bool { return r.IsEvent("server_down") && r.Text("server") == "A" })
	says.says(api, "up ready\n")
	require.Zero(t, shareOfA(t, addr, 4))
	a.Up()
	w.WaitRecord(15*time.Second, "A to come up", func(r weirtest.Record) bool { return r.IsEvent("server_up") && r.Text("server") == "A" })
	says.says(api, "down\n")
	require.Zero(t, shareOfA(t, addr, 4))
	says.says(api, "up\n")
	require.InDelta(t, 5, shareOfA(t, addr, 10), 1)

	// The agent cannot override a state in the file.
	for _, state := range []string{"maint", "drain"} {
		l.Levels = weirtest.OneLevel(list[0][0]+" state="+state, list[0][1])
		w.Reload(api.AddTo(l.String()))
		says.says(api, "ready up 100%\n")
		require.Zero(t, shareOfA(t, addr, 4), state)
	}
	l.Levels = list
	w.Reload(api.AddTo(l.String()))

	// While the agent has its server in maintenance, other checks pause and the agent check continues.
	says.says(api, "maint\n")
	w.WaitRecord(15*time.Second, "A in maintenance", func(r weirtest.Record) bool {
		return r.IsEvent("server_state") && r.Text("to") == "maint" && r.Text("layer") == "agent"
	})
	says.says(api, "maint\n")
	before := a.Accepted()
	says.says(api, "maint\n")
	require.Equal(t, before, a.Accepted())
	says.says(api, "ready\n")
	nettest.Wait(t, 15*time.Second, "checks to go on", func() bool { return a.Accepted() > before })
	require.InDelta(t, 5, shareOfA(t, addr, 10), 1)
}

// The agent's limit on sessions applies, through any number of changes.
func TestAgentLimitsSessions(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Greet("A", nettest.Echo))
	says := newTalker(t, "maxconn:2\n")
	_, addr, api := weirtest.ServeAPI(t, weirtest.Config{Levels: weirtest.OneLevel(host.Addr() + " name=A"), Checks: agentCheck(says, "")})
	says.says(api, "maxconn:2\n")
	for round := range 5 {
		for range 2 {
			_, served := weirtest.DialServed(t, addr, 5*time.Second)
			require.True(t, served)
		}
		_, served := weirtest.DialServed(t, addr, 5*time.Second)
		require.False(t, served)
		host.Reset()
		nettest.Wait(t, 15*time.Second, "the sessions to end", func() bool { return api.Get("sessions") == 0.0 })
		says.says(api, fmt.Sprintf("maxconn:%d\n", 100+round))
		says.says(api, "maxconn:2\n")
	}
}

// An unreachable agent changes no state.
func TestUnreachableAgent(t *testing.T) {
	t.Parallel()
	_, _, list := twoServers(t)
	says := newTalker(t, "drain\n")
	says.Down()
	l := weirtest.Config{Levels: list, Checks: agentCheck(says, "")}
	w, addr, api := weirtest.ServeAPI(t, l)
	l.Listen = addr
	for range 3 {
		require.InDelta(t, 5, shareOfA(t, addr, 10), 1)
	}
	require.Empty(t, w.Records(func(r weirtest.Record) bool { return r.Text("server") == "A" && r.Termination() == "" }))

	// Its last advice stays in effect, through reloads, while the check exists.
	says.Up()
	says.says(api, "drain\n")
	require.Zero(t, shareOfA(t, addr, 4))
	says.Down()
	l.Cluster = "connect_timeout = \"1s\""
	w.Reload(api.AddTo(l.String()))
	l.Checks = agentCheck(says, "send = \"x\"") // the check is the same with another option
	w.Reload(api.AddTo(l.String()))
	require.Zero(t, shareOfA(t, addr, 4))
	l.Checks = ""
	w.Reload(api.AddTo(l.String()))
	require.InDelta(t, 5, shareOfA(t, addr, 10), 1)
	l.Checks = agentCheck(says, "")
	w.Reload(api.AddTo(l.String()))
	require.InDelta(t, 5, shareOfA(t, addr, 10), 1)
}

// With a ttl, advice expires when the agent has not replied for that long.
func TestAgentTTL(t *testing.T) {
	t.Parallel()
	_, _, list := twoServers(t)
	says := newTalker(t, "down 10%\n")
	w, addr, api := weirtest.ServeAPI(t, weirtest.Config{Levels: list, Checks: agentCheck(says, "ttl = \"4s\"")})
	says.says(api, "down 10%\n")
	require.Zero(t, shareOfA(t, addr, 4))
	says.Down()
	silent := time.Now()
	nettest.Wait(t, 30*time.Second, "A to come up for good", func() bool {
		all := w.Records(func(r weirtest.Record) bool {
			return r.Text("server") == "A" && (r.IsEvent("server_up") || r.IsEvent("server_down"))
		})
		return time.Since(silent) > 4*time.Second && all[len(all)-1].IsEvent("server_up")
	})
	require.InDelta(t, 5, shareOfA(t, addr, 10), 1)
	says.Up()
	says.says(api, "drain\n")
	require.Zero(t, shareOfA(t, addr, 4))
}

// The send string is sent unchanged.
func TestAgentSendString(t *testing.T) {
	t.Parallel()
	_, _, list := twoServers(t)
	const send = "pouet\n\x00\xff"
	asked := make(chan string, 1)
	a := nettest.Start(t, func(_ context.Context, c *net.TCPConn) {
		got := make([]byte, len(send))
		if _, err := io.ReadFull(c, got); err != nil {
			return
		}
		select {
		case asked <- string(got):
		default:
		}
		io.WriteString(c, "drain\n")
	})
	w, _ := weirtest.Serve(t, weirtest.Config{Levels: list, Checks: agentCheck(&talker{Host: a}, `send = "0x706f7565740a00ff"`)})
	require.Equal(t, send, <-asked)
	w.WaitRecord(15*time.Second, "the answer", func(r weirtest.Record) bool { return r.IsEvent("server_state") && r.Text("to") == "drain" })
}

// An agent check over HTTP.
func TestAgentOverHTTP(t *testing.T) {
	t.Parallel()
	_, _, list := twoServers(t)
	a := newTalker(t, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n50%")
	w, addr, api := weirtest.ServeAPI(t, weirtest.Config{Levels: list, Checks: fmt.Sprintf("[[cluster.c.check]]\ntype = \"agent_http\"\nurl = \"http://%s/weight?server=A\"\n"+
		"interval = \"80ms\"\ntimeout = \"80ms\"\nservers = [\"A\"]\n", a.Addr())})
	a.says(api, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n50%")
	require.InDelta(t, 10, shareOfA(t, addr, 30), 2)
	a.says(api, "HTTP/1.1 500 Oh\r\nContent-Length: 6\r\n\r\ndrain\n")
	require.InDelta(t, 10, shareOfA(t, addr, 30), 2)
	a.says(api, "HTTP/1.0 200 OK\r\n\r\ndrain\n")
	require.Zero(t, shareOfA(t, addr, 4))
	require.Empty(t, w.Warnings())
}

// agentProcess runs `weir agent` until the test ends and returns its address.
func agentProcess(t *testing.T, args ...string) (addr string, cmd *exec.Cmd) {
	t.Helper()
	addr = nettest.Reserve(t)
	cmd = exec.Command(weirtest.Binary, append([]string{"agent", "--listen", addr}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
		require.Zero(t, cmd.ProcessState.ExitCode())
	})
	said := make([]byte, 100)
	n, err := stdout.Read(said)
	require.NoError(t, err)
	require.Equal(t, "weir agent: listening on "+addr+"\n", string(said[:n]))
	return addr, cmd
}

// weir's agent check reads the replies of weir agent.
func TestAgentCommand(t *testing.T) {
	t.Parallel()
	_, _, list := twoServers(t)
	file := filepath.Join(t.TempDir(), "weight")
	write := func(text string) {
		require.NoError(t, os.WriteFile(file+".new", []byte(text), 0o600))
		require.NoError(t, os.Rename(file+".new", file))
	}
	write("drain\n")
	addrOf, _ := agentProcess(t, "--file", file)
	_, port, _ := net.SplitHostPort(addrOf)
	w, addr := weirtest.Serve(t, weirtest.Config{Levels: list, Checks: "[[cluster.c.check]]\ntype = \"agent\"\nport = " + port + "\ninterval = \"300ms\"\ntimeout = \"300ms\"\nservers = [\"A\"]\n"})
	state := func(to, reason string) {
		t.Helper()
		w.WaitRecord(15*time.Second, "the state "+to, func(r weirtest.Record) bool {
			return r.Text("to") == to && r.Text("layer") == "agent" && r.Text("reason") == reason
		})
	}
	state("drain", "drain")
	require.Zero(t, shareOfA(t, addr, 4))
	write("ready 50% down # backup is running") // no line end
	state("down", "ready 50% down #backup is running")
	write("up\n")
	state("up", "ready 50% up")
	require.InDelta(t, 10, shareOfA(t, addr, 30), 2)

	for _, c := range [][]string{{"--say", "maint"}, {"--load"}} {
		at, _ := agentProcess(t, c...)
		text, end := weirtest.ReadSession(at)
		require.Equal(t, nettest.EOF, end)
		require.Regexp(t, `^(maint|\d{1,3}%)\n$`, text)
	}
}

func TestAgentCommandUsage(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{}, {"--listen", "127.0.0.1:1"}, {"--say", "up"}, {"--listen", "127.0.0.1:1", "--say", "up", "--load"},
		{"--listen", "127.0.0.1:1", "--load", "more"}, {"--nonsense"}, {"--listen", "127.0.0.1:1", "--say", "upgrading"},
		{"--listen", "nowhere", "--load"},
	} {
		code, out := weirtest.RunCommand(t, append([]string{"agent"}, args...)...)
		require.Equal(t, 1, code, "%v", args)
		require.NotEmpty(t, out)
	}
	code, out := weirtest.RunCommand(t, "agent", "--listen", "192.0.2.1:1", "--say", "up")
	require.Equal(t, 2, code)
	require.Contains(t, out, "cannot assign requested address")
	code, out = weirtest.RunCommand(t, "agent", "--help")
	require.Zero(t, code)
	require.Contains(t, out, "--load")
}
