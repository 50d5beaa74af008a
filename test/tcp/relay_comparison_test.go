package tcp_test

import (
	"io"
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// pace is how long the same thing takes through weir and through the plainest of relays, by turns: what a busy machine does
// to one it does to the other.
type pace struct {
	t           *testing.T
	weir, relay []time.Duration
}

// measure takes the time of both.
func (p *pace) measure(weir, relay func()) {
	begin := time.Now()
	weir()
	middle := time.Now()
	relay()
	p.weir, p.relay = append(p.weir, middle.Sub(begin)), append(p.relay, time.Since(middle))
}

// within checks that a percentile through weir is less than the bound, or than the bound and a few times what the relay
// takes where that is much.
func (p *pace) within(percent int, bound time.Duration) {
	p.t.Helper()
	weir, relay := weirtest.Percentile(p.weir, percent), weirtest.Percentile(p.relay, percent)
	require.Less(p.t, weir, bound+3*relay, "%d %%; through a plain relay it is %v", percent, relay)
}

// relayEnv makes a test binary a relay to the address that it holds.
const relayEnv = "WEIR_TEST_RELAY"

// relay is the address of a process that passes on what clients and a server say, until the test ends.
func relay(t *testing.T, server string) string {
	t.Helper()
	ln := nettest.Listen(t, nettest.Reserve(t))
	defer ln.Close()
	f, err := ln.(*net.TCPListener).File()
	require.NoError(t, err)
	defer f.Close()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), relayEnv+"="+server)
	cmd.ExtraFiles = []*os.File{f}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return ln.Addr().String()
}

// runPlainRelay is that process, and its exit code.
func runPlainRelay(server string) int {
	ln, err := net.FileListener(os.NewFile(3, "listener"))
	if err != nil {
		return 100
	}
	pass := func(to, from net.Conn) {
		io.Copy(to, from)
		to.(*net.TCPConn).CloseWrite()
	}
	for {
		c, err := ln.Accept()
		if err != nil {
			return 101
		}
		go func() {
			defer c.Close()
			s, err := net.Dial("tcp", server)
			if err != nil {
				return
			}
			defer s.Close()
			go pass(s, c)
			pass(c, s)
		}()
	}
}
