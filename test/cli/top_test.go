// weir top in a terminal.

package cli_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/charmbracelet/x/vt"
	"github.com/creack/pty"
	"github.com/stretchr/testify/require"
	"golang.org/x/term"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// topScreen is a weir top in an emulated terminal.
type topScreen struct {
	t      *testing.T
	cmd    *exec.Cmd
	master *os.File
	slave  *os.File
	before *term.State
	read   chan struct{} // closed when the terminal is closed

	mu     sync.Mutex
	screen *vt.Emulator
	out    strings.Builder // all output
}

func startTop(t *testing.T, a weirtest.API) *topScreen {
	t.Helper()
	master, slave, err := pty.Open()
	require.NoError(t, err)
	s := &topScreen{t: t, master: master, slave: slave, read: make(chan struct{}), screen: vt.NewEmulator(80, 24)}
	require.NoError(t, pty.Setsize(master, &pty.Winsize{Rows: 24, Cols: 80}))
	s.before, err = term.GetState(int(slave.Fd()))
	require.NoError(t, err)
	s.cmd = exec.Command(weirtest.Binary, "top", "--admin", "unix:"+a.Socket)
	s.cmd.Env = append(os.Environ(), "TERM=xterm-256color", "NO_COLOR=")
	s.cmd.Stdin, s.cmd.Stdout, s.cmd.Stderr = slave, slave, slave
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Pdeathsig: syscall.SIGKILL}
	require.NoError(t, s.cmd.Start())
	go io.Copy(master, s.screen) // responses to queries
	go func() {
		defer close(s.read)
		buf := make([]byte, 64<<10)
		for {
			n, err := master.Read(buf)
			s.mu.Lock()
			s.out.Write(buf[:n])
			s.screen.Write(buf[:n])
			s.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		s.cmd.Process.Kill() // if it is still there
		s.cmd.Wait()
		slave.Close()
		master.Close()
		<-s.read
		s.screen.InputPipe().(io.Closer).Close()
	})
	return s
}

func (s *topScreen) all() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.String()
}

// lines returns the screen as text.
func (s *topScreen) lines() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Split(strings.TrimRight(s.screen.String(), "\n "), "\n")
}

func (s *topScreen) isAltScreen() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.screen.IsAltScreen()
}

// resize changes the size of the terminal, which signals weir top.
func (s *topScreen) resize(columns, rows int) {
	s.t.Helper()
	s.mu.Lock()
	s.screen.Resize(columns, rows)
	s.mu.Unlock()
	require.NoError(s.t, pty.Setsize(s.master, &pty.Winsize{Rows: uint16(rows), Cols: uint16(columns)}))
}

func (s *topScreen) shows(text string) {
	s.t.Helper()
	nettest.Wait(s.t, 40*time.Second, "the screen to show "+text+" instead of "+strings.Join(s.lines(), "\n"), func() bool {
		return strings.Contains(strings.Join(s.lines(), "\n"), text)
	})
}

func (s *topScreen) press(keys string) {
	s.t.Helper()
	_, err := io.WriteString(s.master, keys)
	require.NoError(s.t, err)
}

// exits checks that the process exits with code 0 and has restored the terminal.
func (s *topScreen) exits() {
	s.t.Helper()
	done := make(chan error, 1)
	go func() { done <- s.cmd.Wait() }()
	select {
	case err := <-done:
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			require.NoError(s.t, err)
		}
	case <-time.After(40 * time.Second):
		require.Fail(s.t, "weir top does not end", strings.Join(s.lines(), "\n"))
	}
	require.Zero(s.t, s.cmd.ProcessState.ExitCode(), s.all()[max(0, len(s.all())-2000):])
	nettest.Wait(s.t, 20*time.Second, "the main screen and the cursor", func() bool {
		return !s.isAltScreen() && strings.LastIndex(s.all(), "\x1b[?25h") > strings.LastIndex(s.all(), "\x1b[?25l")
	})
	after, err := term.GetState(int(s.slave.Fd()))
	require.NoError(s.t, err)
	require.Equal(s.t, s.before, after)
}

func TestTop(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	l := weirtest.Config{Listen: nettest.Reserve(t), Levels: weirtest.OneLevel(host.Addr()+" name=A", "127.0.0.1:1 name=B state=maint"),
		More: weirtest.ListenerTables("x", nettest.Reserve(t), "127.0.0.1:1 name=gone") + "[[cluster.x.check]]\ntype = \"tcp\"\ninterval = \"50ms\"\nfall = 1\n"}
	w, addr, a := weirtest.ServeAPI(t, l)
	s := startTop(t, a)
	s.shows("CRITICAL  x: no healthy server")
	s.shows("c/A")
	require.True(t, s.isAltScreen())
	require.Contains(t, s.all(), "\x1b[31munstable", "in colour")

	c := nettest.Dial(t, addr)
	require.NoError(t, weirtest.PingPong(c))
	s.shows("1 of ")
	s.press("/c/a\r")
	s.shows("1 servers, by file, matching c/a")
	s.press("d")
	s.shows("c/A: drain, weight 1")
	require.Equal(t, "drain", a.ServerState(0))
	s.press("m")
	s.shows("set c/A to maint? y/n")
	s.press("n")
	s.shows("cancelled")
	require.Equal(t, "drain", a.ServerState(0))
	s.press("my")
	s.shows("c/A: maint")
	s.press("r")
	s.shows("c/A: up")
	s.press("e")
	s.shows("c/A at " + host.Addr() + ": up for ")
	s.shows("override (operator (user ")
	s.shows("sessions         1  ")
	s.shows(c.LocalAddr().String() + "  relay")
	s.press("\x1b")
	s.shows("CLUSTER/SERVER")
	s.press("z")
	nettest.Wait(t, 20*time.Second, "the override to be removed", func() bool { return !strings.Contains(a.MustRunCommand("explain", "c/A"), "override") })
	s.press("K")
	s.shows("kill all 1 sessions of c/A? y/n")
	require.NoError(t, weirtest.PingPong(c))
	s.press("y")
	s.shows("1 sessions cut")
	_, end := nettest.ReadToEnd(c, 20*time.Second)
	require.Equal(t, nettest.Reset, end)

	s.press("\x1b")
	s.shows("3 servers")
	s.press("sb")
	s.shows("2 servers, by state, only servers not up")
	s.press("\x1b[B\x1b[B\x1b[")
	s.press("B")
	s.shows("c/B at 127.0.0.1:1: maint")
	s.press("?")
	s.shows("KEYS")
	s.shows("filter by words")
	s.press("?")
	s.press("p")
	s.shows("PROBLEMS")
	s.shows("CRITICAL x: no healthy server: protection")
	s.press("\x1b")

	s.resize(40, 12)
	nettest.Wait(t, 20*time.Second, "a screen of 40 columns and 12 lines", func() bool {
		lines := s.lines()
		return len(lines) == 12 && strings.HasPrefix(lines[1], "1 of 2: CRITICAL  x: no healthy server") && strings.HasPrefix(lines[2], "CLUSTER/SERVER") &&
			strings.HasPrefix(lines[4], "c/B ") && strings.HasPrefix(lines[10], "2 servers, by state") && strings.HasPrefix(lines[11], "q quit  ? keys")
	})
	s.resize(80, 24)

	w.Signal(syscall.SIGTERM)
	require.Zero(t, w.WaitExit(10*time.Second))
	s.shows("no response since")
	s.press("q")
	s.exits()
}

// Every way to end restores the terminal.
func TestTopRestoresTerminal(t *testing.T) {
	t.Parallel()
	_, _, a := weirtest.ServeAPI(t, weirtest.Config{Levels: weirtest.OneLevel("127.0.0.1:1 name=A")})
	for _, how := range []any{"q", "\x03", syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT} {
		s := startTop(t, a)
		s.shows("c/A")
		switch how := how.(type) {
		case string:
			s.press(how)
		case syscall.Signal:
			require.NoError(t, s.cmd.Process.Signal(how))
		}
		s.exits()
	}

	s := startTop(t, a)
	s.shows("c/A")
	s.press("\x1a") // ctrl-z
	stopped := func() bool {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.cmd.Process.Pid))
		return err == nil && strings.Contains(string(text), ") T ")
	}
	nettest.Wait(t, 20*time.Second, "weir top to be stopped", stopped)
	now, err := term.GetState(int(s.slave.Fd()))
	require.NoError(t, err)
	require.Equal(t, s.before, now)
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGCONT))
	nettest.Wait(t, 20*time.Second, "weir top to be back", func() bool { return strings.Count(s.all(), "\x1b[?1049h") == 2 })
	s.shows("c/A")
	s.press("q")
	s.exits()
}

func TestTopWithoutTerminal(t *testing.T) {
	t.Parallel()
	_, _, a := weirtest.ServeAPI(t, weirtest.Config{Levels: weirtest.OneLevel("127.0.0.1:1 name=A")})
	for _, more := range []string{"", "--json"} {
		cmd := exec.Command(weirtest.Binary, strings.Fields("top --admin unix:"+a.Socket+" "+more)...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		cmd.Env = append(os.Environ(), "TERM=xterm")
		var words strings.Builder
		cmd.Stderr = &words
		out, err := cmd.Output()
		require.NoError(t, err)
		if more == "" {
			require.Contains(t, words.String(), "weir status")
			require.Contains(t, string(out), "LISTENER")
			continue
		}
		require.Empty(t, words.String())
		var doc struct{ Clusters []struct{ Name string } }
		require.NoError(t, json.Unmarshal(out, &doc))
		require.Equal(t, "c", doc.Clusters[0].Name)
	}
	code, _ := weirtest.RunCommand(t, "top", "--admin", "unix:"+a.Socket+".none")
	require.Equal(t, 2, code)
}
