package soak

// A server in a process of its own, which is killed for real: what its kernel makes of the connections is what any
// program's end looks like.

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
)

type child struct {
	command []string // what is followed by the index and the address
	index   int
	address string
	report  func(visit)

	mu   sync.Mutex
	cmd  *exec.Cmd // nil = it is dead
	done chan struct{}
}

func (c *child) start() error {
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
			var v visit
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

// die kills the process and returns when it is gone.
func (c *child) die() {
	c.mu.Lock()
	cmd, done := c.cmd, c.done
	c.cmd = nil
	c.mu.Unlock()
	if cmd != nil {
		_ = cmd.Process.Kill()
		<-done
	}
}

func (c *child) stop() { c.die() }

// sessions is not known.
func (c *child) sessions() int { return 0 }
