package upgrade_test

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/handover"
	"weir/internal/nettest"
	"weir/internal/weirtest"
	"weir/l4"
)

// oldProcess is the test in the role of the old process of an upgrade. It has one listener, with a socket for each event loop.
type oldProcess struct {
	*handover.NewProcess
	addr    string
	sockets []*net.TCPListener
}

// startNewProcess starts weir as the new process and returns when it has said that it serves.
func startNewProcess(t *testing.T, config weirtest.Config) *oldProcess {
	t.Helper()
	config.Listen = nettest.Reserve(t)
	o := &oldProcess{addr: config.Listen}
	var descriptors []int32
	reuse := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, 0xf, 1) }) // SO_REUSEPORT
	}}
	for range 2 {
		ln, err := reuse.Listen(t.Context(), "tcp", o.addr)
		require.NoError(t, err)
		t.Cleanup(func() { ln.Close() })
		f, err := ln.(*net.TCPListener).File()
		require.NoError(t, err)
		t.Cleanup(func() { f.Close() })
		o.sockets = append(o.sockets, ln.(*net.TCPListener))
		fd, err := l4.DescriptorOf(f)
		require.NoError(t, err)
		descriptors = append(descriptors, fd)
	}
	file := filepath.Join(t.TempDir(), "weir.toml")
	require.NoError(t, os.WriteFile(file, []byte(config.String()), 0o600))
	p, err := handover.Start(func(descriptor int) *exec.Cmd {
		cmd := exec.Command(weirtest.Binary, "run", "-c", file)
		cmd.Env = append(os.Environ(), fmt.Sprintf("WEIR_HANDOVER=%d", descriptor))
		cmd.Stderr = os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		return cmd
	}, handover.Hello{Sessions: l4.SessionFormat, Flows: l4.FlowFormat, Version: "test"}, func(start func() error) error { return start() })
	require.NoError(t, err)
	o.NewProcess = p
	t.Cleanup(func() {
		p.Kill()
		p.Close()
	})
	state := func() (any, error) {
		return map[string]any{"saved_state": json.RawMessage(`{"format": "weir state", "version": 2}`)}, nil
	}
	ready, err := p.Prepare([]handover.Socket{{Kind: handover.ListenerSocket, Name: "tcp " + o.addr, Descriptors: descriptors}}, state)
	require.NoError(t, err)
	require.Equal(t, []string{"tcp " + o.addr}, ready.Listeners)
	require.NoError(t, p.Commit(state))
	return o
}

// The old process may give up, and kill the new one, while the word that it serves is on its way. The new process has accepted
// no client then: all are still in the queues of the sockets that the old one goes on with.
func TestKilledNewProcessHasAcceptedNoClient(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	o := startNewProcess(t, weirtest.Config{Runtime: "loops = 2", Levels: weirtest.OneLevel(host.Addr())})
	const clients = 8
	for range clients {
		c := nettest.Dial(t, o.addr)
		_, err := c.Write([]byte("x"))
		require.NoError(t, err)
		require.NoError(t, c.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
		_, err = c.Read(make([]byte, 1))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	}
	o.Kill()
	accepted := make(chan error)
	for _, ln := range o.sockets {
		go func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				_, err = c.Read(make([]byte, 1))
				c.Close()
				accepted <- err
			}
		}()
	}
	for range clients {
		select {
		case err := <-accepted:
			require.NoError(t, err)
		case <-time.After(10 * time.Second):
			require.FailNow(t, "a client is lost")
		}
	}
}

// The new process accepts when the old one goes on with the upgrade, and when it has ended.
func TestNewProcessAcceptsWhenReleased(t *testing.T) {
	for name, release := range map[string]func(*testing.T, *oldProcess){
		"by the next message": func(t *testing.T, o *oldProcess) {
			moved, err := o.MoveFlows(func() *handover.Batch { return nil })
			require.NoError(t, err)
			require.Zero(t, moved)
		},
		"by the end of the old process": func(_ *testing.T, o *oldProcess) { o.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			host := nettest.Start(t, nettest.Echo)
			o := startNewProcess(t, weirtest.Config{Runtime: "loops = 2", Levels: weirtest.OneLevel(host.Addr())})
			c := nettest.Dial(t, o.addr)
			release(t, o)
			require.NoError(t, weirtest.PingPong(c))
		})
	}
}
