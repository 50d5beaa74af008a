package soak

// A test server in a process of its own. When it is killed, its kernel closes the connections as for any
// program that ends.

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
)

type childServer struct {
	command []string // index and address are appended
	index   int
	address string
	report  func(serverResult)

	mu   sync.Mutex
	cmd  *exec.Cmd // nil = not running
	done chan struct{}
}

func (c *childServer) start() error {
	args := append(append([]string(nil), c.command...), strconv.Itoa(c.index), c.address)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	lines := bufio.NewScanner(out)
	if !lines.Scan() || lines.Text() != "ready" {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return fmt.Errorf("the child server at %s did not start: %q", c.address, lines.Text())
	}
	done := make(chan struct{})
	go func() { // ends with the process; die waits for it
		defer close(done)
		for lines.Scan() {
			var v serverResult
			if json.Unmarshal(lines.Bytes(), &v) == nil {
				c.report(v)
			}
		}
		_ = cmd.Wait()
	}()
	c.mu.Lock()
	c.cmd, c.done = cmd, done
	c.mu.Unlock()
	return nil
}

// kill kills the process and waits for its end.
func (c *childServer) kill() {
	c.mu.Lock()
	cmd, done := c.cmd, c.done
	c.cmd = nil
	c.mu.Unlock()
	if cmd != nil {
		_ = cmd.Process.Kill()
		<-done
	}
}

func (c *childServer) stop() { c.kill() }

// sessions returns 0, because the number is unknown.
func (c *childServer) sessions() int { return 0 }
