package nettest

import (
	"bufio"
	"bytes"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Redis is a real redis-server with its own address and directory, without persistence.
type Redis struct {
	t    testing.TB
	addr string
	args []string
	ns   *Namespace // nil = the test's own network
	p    *program
}

// StartRedis runs redis-server with further arguments, such as "--requirepass", "secret", until the test ends.
func StartRedis(t testing.TB, args ...string) *Redis {
	t.Helper()
	r := &Redis{t: t, addr: Reserve(t), args: args}
	r.Up()
	return r
}

// Addr returns the server's address.
func (r *Redis) Addr() string { return r.addr }

// PID returns the process number of the running server.
func (r *Redis) PID() int { return r.p.cmd.Process.Pid }

// Up restarts the server after Kill, empty.
func (r *Redis) Up() {
	r.t.Helper()
	host, port, err := net.SplitHostPort(r.addr)
	require.NoError(r.t, err)
	args := append([]string{
		"--bind", host, "--port", port, "--dir", r.t.TempDir(), "--save", "", "--appendonly", "no", "--daemonize", "no",
	}, r.args...)
	within := func(f func()) { f() }
	if r.ns != nil {
		within = r.ns.Do
	}
	within(func() { r.p = startProgram(r.t, "redis-server", args...) })
	r.p.waitReady(r.t, 30*time.Second, func() bool {
		var reply string
		var err error
		within(func() { reply, err = redisPing(r.addr) })
		return err == nil && (strings.HasPrefix(reply, "+PONG") || strings.HasPrefix(reply, "-NOAUTH"))
	})
}

// Kill ends the server with SIGKILL and returns when it has ended.
func (r *Redis) Kill() { r.p.kill() }

func redisPing(addr string) (string, error) {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return "", err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Second))
	if _, err := c.Write([]byte("PING\r\n")); err != nil {
		return "", err
	}
	return bufio.NewReader(c).ReadString('\n')
}

// program is a server from a package that runs for a test.
type program struct {
	cmd    *exec.Cmd
	output lockedBuffer
	done   chan struct{} // closed when the process has ended
}

// startProgram runs a program until the test ends. The kernel kills it if the test process is killed.
func startProgram(t testing.TB, name string, args ...string) *program {
	t.Helper()
	return startProgramIn(t, &syscall.SysProcAttr{}, name, args...)
}

// startProgramIn is startProgram with attributes such as another user.
func startProgramIn(t testing.TB, attr *syscall.SysProcAttr, name string, args ...string) *program {
	t.Helper()
	path, err := exec.LookPath(name)
	require.NoError(t, err, "install %s to run this test", name)
	p := &program{cmd: exec.Command(path, args...), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = &p.output, &p.output
	p.cmd.SysProcAttr = attr
	attr.Pdeathsig = syscall.SIGKILL
	p.cmd.WaitDelay = 5 * time.Second // if a process that it has started has its output
	p.cmd.Env = append(os.Environ(), "LC_ALL=C")
	require.NoError(t, p.cmd.Start())
	go func() {
		p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(p.kill)
	return p
}

func (p *program) kill() {
	p.cmd.Process.Kill()
	<-p.done
}

func (p *program) waitReady(t testing.TB, within time.Duration, ready func() bool) {
	t.Helper()
	deadline := time.Now().Add(within)
	for !ready() {
		select {
		case <-p.done:
			t.Fatalf("%s ended at once: %s", p.cmd.Path, p.output.tail())
		case <-time.After(10 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is not ready after %v: %s", p.cmd.Path, within, p.output.tail())
		}
	}
}

// lockedBuffer collects the output of a program while other goroutines read it.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(data []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(data)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// tail returns the end of the output, for the message of a failing test.
func (b *lockedBuffer) tail() string {
	text := b.String()
	return text[max(0, len(text)-2000):]
}
