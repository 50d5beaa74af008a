// Commands that wait show what is left.

package cli_test

import (
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// transcript collects output that is read while it grows.
type transcript struct {
	mu   sync.Mutex
	text strings.Builder
}

func (t *transcript) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.Write(p)
}

func (t *transcript) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.String()
}

// A drain shows the sessions and the time that are left: in plain lines in a pipe, in one line that changes on a terminal. A stop
// does the same.
func TestWaitingIsVisible(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	w, addr, a := weirtest.ServeAPI(t, weirtest.Config{Levels: weirtest.OneLevel(host.Addr() + " name=A"), Runtime: `drain_timeout = "1h"`})
	first, second := nettest.Dial(t, addr), nettest.Dial(t, addr)
	require.NoError(t, weirtest.PingPong(first))
	require.NoError(t, weirtest.PingPong(second))

	var out, progress transcript
	drain := exec.Command(weirtest.Binary, "server", "c/A", "drain", "--deadline", "1h", "--wait", "--admin", "unix:"+a.Socket)
	drain.Stdout, drain.Stderr = &out, &progress
	require.NoError(t, drain.Start())
	nettest.Wait(t, 20*time.Second, "the sessions that are left", func() bool { return strings.HasPrefix(progress.String(), "c/A: 2 sessions left, cut in ") })
	first.Close()
	nettest.Wait(t, 20*time.Second, "one session", func() bool { return a.Server("A")["sessions"] == 1.0 })
	a.MustRunCommand("server", "c/A", "ready")
	require.Error(t, drain.Wait())
	require.Contains(t, progress.String(), "c/A is up: the drain was ended with 1 session left")
	require.Contains(t, out.String(), "c/A: drain until ")
	require.NotContains(t, progress.String(), "\x1b", "no control characters but on a terminal")

	stop := exec.Command(weirtest.Binary, "stop", "--admin", "unix:"+a.Socket)
	stop.Env = append(os.Environ(), "TERM=xterm")
	master, err := pty.Start(stop)
	require.NoError(t, err)
	defer master.Close()
	var screen transcript
	read := make(chan struct{})
	go func() {
		defer close(read)
		io.Copy(&screen, master) // ends with an error, as terminals do
	}()
	nettest.Wait(t, 20*time.Second, "the session that is left", func() bool {
		return strings.Contains(screen.String(), "\rstopping: 1 session left, cut in ") && strings.Contains(screen.String(), "cut in 59m")
	})
	second.Close()
	require.NoError(t, stop.Wait())
	<-read
	require.True(t, strings.HasSuffix(screen.String(), "\r\x1b[Kstopped, 0 sessions cut\r\n"), "%q", screen.String())
	require.Zero(t, w.WaitExit(15*time.Second))
}
