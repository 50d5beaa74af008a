// Package procgroup runs the programs of exec checks and exec hooks. Each runs in a process group of its own, so that
// it can be killed together with everything it has started.
package procgroup

import (
	"context"
	"errors"
	"os/exec"
	"strings"
	"syscall" // process groups
	"time"

	"weir/internal/reaper"
)

// outputDelay is how long Wait waits for the output to end after the program has ended or was killed. A process that
// the program has started may hold the output open.
const outputDelay = 100 * time.Millisecond

// Command is a program in a process group of its own.
type Command struct {
	*exec.Cmd
	output output
}

// New returns a command that is not started. When ctx ends, the whole group is killed. Standard output and standard
// error are read together and discarded, except for the first line. After maxOutput bytes reading stops and further
// writes of the program fail with EPIPE; 0 means no limit. Env is the environment of this process without the variables
// that concern only it: those of the service manager, and those that TakeSecret has returned.
func New(ctx context.Context, maxOutput int, path string, args ...string) *Command {
	c := &Command{Cmd: exec.CommandContext(ctx, path, args...), output: output{limit: maxOutput}}
	c.Env = environ()
	c.Stdout, c.Stderr = &c.output, &c.output
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = c.killGroup
	c.WaitDelay = outputDelay
	return c
}

// Start starts the program. It returns the errors of exec.Cmd.Start unchanged.
func (c *Command) Start() error { return reaper.Start(c.Cmd) }

// Wait waits until the program and its output have ended, and kills processes that still hold the output open
// outputDelay later. Neither this nor too much output is an error. The errors are those of exec.Cmd.Wait.
func (c *Command) Wait() error {
	err := reaper.Wait(c.Cmd)
	if errors.Is(err, exec.ErrWaitDelay) {
		_ = c.killGroup() // the holder of the output is in the group, so the group still exists
		return nil
	}
	if errors.Is(err, errTooMuchOutput) {
		return nil
	}
	return err
}

// FirstLine returns the first line of the output that is not blank, of at most keptOutput bytes. Call it after Wait.
func (c *Command) FirstLine() string {
	for line := range strings.Lines(string(c.output.kept)) {
		if s := strings.TrimSpace(line); s != "" {
			return s
		}
	}
	return ""
}

func (c *Command) killGroup() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }

// keptOutput is how many bytes at the beginning of the output are kept.
const keptOutput = 1024

var errTooMuchOutput = errors.New("too much output")

// output keeps the beginning of what is written to it.
type output struct {
	limit int // 0 = none
	total int
	kept  []byte
}

func (o *output) Write(p []byte) (int, error) {
	o.kept = append(o.kept, p[:min(len(p), keptOutput-len(o.kept))]...)
	if o.total += len(p); o.limit > 0 && o.total > o.limit {
		return 0, errTooMuchOutput
	}
	return len(p), nil
}
