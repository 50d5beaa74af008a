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

// pace compares the time of an operation through weir and through a plain relay, in turn: a busy machine slows both.
type pace struct {
	t           *testing.T
	weir, relay []time.Duration
}

// measure runs and times both.
func (p *pace) measure(weir, relay func()) {
	begin := time.Now()
	weir()
	middle := time.Now()
	relay()
	p.weir, p.relay = append(p.weir, middle.Sub(begin)), append(p.relay, time.Since(middle))
}

// within checks that a percentile through weir is less than bound plus three times that of the relay.
func (p *pace) within(percent int, bound time.Duration) {
	p.t.Helper()
	weir, relay := weirtest.Percentile(p.weir, percent), weirtest.Percentile(p.relay, percent)
	require.Less(p.t, weir, bound+3*relay, "%d %%; through a plain relay it is %v", percent, relay)
}

// relayEnv is the environment variable that makes a test binary a relay to the address in it.
const relayEnv = "WEIR_TEST_RELAY"

// relay starts a process that forwards between clients and a server until the test ends, and returns its address.
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

// runPlainRelay runs that process and returns its exit code.
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
