// New processes that fail, and processes that are killed during an upgrade.

package upgrade_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/handover"
	"weir/internal/nettest"
	"weir/internal/weirtest"
	"weir/l4"
)

// The message kinds of the upgrade protocol, as in another implementation.
const (
	messageHello = iota + 1
	messageSockets
	messageState
	messageReady
	messageFailed
	messageCommit
	messageServing
	messageSessions
)

// successorEnv is the environment variable with the way in which a test binary fails as the new process of an upgrade.
const successorEnv = "WEIR_TEST_SUCCESSOR"

// runFailingSuccessor runs a new process that fails in the given way and otherwise follows the protocol, and returns
// its exit code.
func runFailingSuccessor(how string) int {
	if signals, ok := strings.CutPrefix(how, signalsItself); ok {
		return runSignalledSuccessor(signals)
	}
	descriptor, err := strconv.Atoi(os.Getenv("WEIR_HANDOVER"))
	if err != nil {
		return 100
	}
	wire, err := handover.OpenConn(uintptr(descriptor))
	if err != nil {
		return 101
	}
	say := func(kind uint8, what any) {
		text, _ := json.Marshal(what)
		wire.Send(kind, text, nil)
	}
	hear := func(kind uint8) (f handover.Message) {
		for f.Kind != kind {
			if f, err = wire.Receive(); err != nil {
				os.Exit(102)
			}
		}
		return f
	}
	hear(messageHello)
	hello := map[string]any{"format": handover.Format, "sessions": l4.SessionFormat, "flows": l4.FlowFormat, "pid": os.Getpid(), "version": "another"}
	switch how {
	case "garbage":
		wire.Send(messageHello, []byte("\x00garbage"), nil)
		time.Sleep(time.Minute)
	case "older", "newer":
		hello["format"] = map[string]int{"older": 0, "newer": 99}[how]
		say(messageHello, hello)
		time.Sleep(time.Minute)
	case "no sessions":
		hello["sessions"] = 99
	}
	say(messageHello, hello)
	var listeners []string
	for kind := uint8(0); kind != messageState; {
		f, err := wire.Receive()
		if err != nil {
			return 103
		}
		if kind = f.Kind; kind == messageSockets {
			var names []struct{ Kind, Name string }
			json.Unmarshal(f.Body, &names)
			for _, n := range names {
				if n.Kind == "listener" {
					listeners = append(listeners, n.Name)
				}
			}
		}
	}
	if how == "dies before it is ready" {
		return 7
	}
	if how == "says why" {
		say(messageFailed, map[string]string{"error": "the moon is full"})
		return 8
	}
	say(messageReady, map[string]any{"listeners": listeners})
	if how == "dies when it is ready" {
		return 9
	}
	hear(messageCommit)
	if how == "dies at the commit" {
		return 10
	}
	say(messageServing, nil)
	if how == "no sessions" {
		time.Sleep(time.Minute)
	}
	hear(messageSessions)
	if how == "refuses sessions" {
		say(messageFailed, map[string]string{"error": "no room"})
		time.Sleep(time.Minute)
	}
	return 11 // with the first sessions, which it has not acknowledged
}

// Whatever a new process does before the commit, the old one continues unchanged.
func TestUpgradeToFailingProcess(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	require.NoError(t, err)
	host := nettest.Start(t, nettest.Echo)
	for how, says := range map[string]string{
		"garbage": "malformed", "older": "format 0", "newer": "format 99", "dies before it is ready": "exit status 7",
		"says why": "the moon is full", "dies when it is ready": "exit status 9", "dies at the commit": "exit status 10",
		"dies with sessions": "exit status 11",
	} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			l := weirtest.Config{Listen: nettest.Reserve(t), Levels: weirtest.OneLevel(host.Addr())}
			a := weirtest.NewAPI(t)
			path := weirtest.CopyProgram(t)
			w := weirtest.Options{Program: path, Env: []string{successorEnv + "=" + how}}.Start(t, a.AddTo(l.String()))
			weirtest.ReplaceProgram(t, path, self)
			var clients []net.Conn
			for range 20 {
				c := nettest.Dial(t, l.Listen)
				require.NoError(t, weirtest.PingPong(c))
				clients = append(clients, c)
			}
			for range 2 {
				code, out := a.RunCommand("upgrade")
				require.Equal(t, 1, code, out)
				require.Contains(t, out, says)
				for _, c := range clients {
					require.NoError(t, weirtest.PingPong(c))
				}
				text, _ := weirtest.EchoOnce(t, l.Listen)
				require.Equal(t, "hello", text)
				require.Equal(t, w.Cmd.Process.Pid, a.PID())
			}
			a.MustRunCommand("server", "c/"+host.Addr(), "weight", "7") // changes are taken again
			for _, c := range clients {
				c.Close()
			}
		})
	}
}

// A new process that cannot take sessions, because its version has another session format or for other reasons, leaves
// them to the old one, which exits with the last of them.
func TestUpgradeWithoutSessions(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	require.NoError(t, err)
	host := nettest.Start(t, nettest.Echo)
	for _, how := range []string{"no sessions", "refuses sessions"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			l := weirtest.Config{Listen: nettest.Reserve(t), Runtime: `drain_timeout = "20s"`, Levels: weirtest.OneLevel(host.Addr())}
			path := weirtest.CopyProgram(t)
			w := weirtest.Options{Program: path, Env: []string{successorEnv + "=" + how}}.Start(t, l.String())
			weirtest.ReplaceProgram(t, path, self)
			var clients []net.Conn
			for range 20 {
				c := nettest.Dial(t, l.Listen)
				require.NoError(t, weirtest.PingPong(c))
				clients = append(clients, c)
			}
			r := w.SignalUpgrade("upgrade")
			require.Equal(t, 20, r.Int("sessions_left"))
			old := w.Process()
			for range 3 {
				for _, c := range clients {
					require.NoError(t, weirtest.PingPong(c))
				}
			}
			require.True(t, old.Alive())
			for _, c := range clients {
				c.Close()
			}
			nettest.Wait(t, 5*time.Second, "the old process to end", func() bool { return !old.Alive() })
			syscall.Kill(r.Int("pid"), syscall.SIGKILL)
			<-w.Done
			require.Zero(t, w.Cmd.ProcessState.ExitCode())
		})
	}
}

// If one of the two processes is killed at any moment, the other one serves, with the sessions that it has.
func TestKillDuringUpgrade(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	const rounds = 8
	var wg sync.WaitGroup
	places := make(chan struct{}, 3)
	for i := range weirtest.Scaled(rounds) {
		wg.Go(func() {
			places <- struct{}{}
			defer func() { <-places }()
			killOne(t, host, i%2 == 0, time.Duration(rand.Int64N(int64(150*time.Millisecond))))
		})
	}
	wg.Wait()
}

func killOne(t *testing.T, host *nettest.Host, successor bool, after time.Duration) {
	l := weirtest.Config{Listen: nettest.Reserve(t), Runtime: `drain_timeout = "20s"`, Levels: weirtest.OneLevel(host.Addr())}
	a := weirtest.NewAPI(t)
	w := weirtest.Options{Program: weirtest.CopyProgram(t)}.Start(t, a.AddTo(l.String()))
	w.Baseline = nil
	var clients []net.Conn
	for range 100 {
		c := nettest.Dial(t, l.Listen)
		if err := weirtest.PingPong(c); err != nil {
			t.Error(err)
		}
		clients = append(clients, c)
	}
	old := w.Process()
	w.Signal(syscall.SIGUSR2)
	var next nettest.Process
	nettest.Wait(t, 20*time.Second, "the new process", func() bool {
		next = successorOf(old)
		return next != 0 || len(w.UpgradeRecords()) > 0
	})
	if next == 0 {
		t.Log("it was over already")
		w.WaitSuccessor(w.UpgradeRecords()[0].Int("pid"))
		return
	}
	time.Sleep(after)
	victim, survivor := old, next
	if successor {
		victim, survivor = next, old
	}
	wasThere := survivor.Alive()
	syscall.Kill(int(victim), syscall.SIGKILL)
	what := fmt.Sprintf("%s killed after %v", map[bool]string{false: "the old process", true: "the new process"}[successor], after)
	if !successor {
		w.AddSuccessor(int(next))
	}
	over := func() bool { return !wasThere || successor && len(w.UpgradeRecords()) > 0 } // by the time of the kill it had all
	served := false
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end) && !served && !over(); time.Sleep(20 * time.Millisecond) {
		if c, err := nettest.TryDial(l.Listen); err == nil {
			served = weirtest.PingPong(c) == nil
			c.Close()
		}
	}
	if over() {
		t.Logf("%s: it was over already", what)
		if successor {
			<-w.Done
		}
		return
	}
	alive := 0
	for _, c := range clients {
		if weirtest.PingPong(c) == nil {
			alive++
		}
		c.Close()
	}
	t.Logf("%s: %d of 100 sessions are alive", what, alive)
	if !served {
		t.Errorf("%s: no process serves; survivor alive: %v", what, survivor.Alive())
	}
}

// successorOf returns the process that p hands over to, or 0 if there is none yet.
func successorOf(p nettest.Process) nettest.Process {
	for _, kid := range weirtest.ChildProcesses(int(p)) {
		environment, _ := os.ReadFile("/proc/" + kid + "/environ")
		if pid, err := strconv.Atoi(kid); err == nil && strings.Contains(string(environment), "WEIR_HANDOVER=") {
			return nettest.Process(pid)
		}
	}
	return 0
}
