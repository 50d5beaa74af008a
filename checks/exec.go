package checks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall" // process groups: a program is killed with what it has started
	"time"
)

// Exec runs a program on this host. Its exit code 0 passes; the first line it prints is the reason, either way. It gets
// the environment of this process and WEIR_CLUSTER, WEIR_SERVER, WEIR_ADDRESS, WEIR_HOST and WEIR_PORT.
type Exec struct {
	Command []string // the program and its arguments; not a shell line
}

// Monitor returns the monitor. The error tells a program that cannot be found.
func (o Exec) Monitor() (Monitor, error) {
	if len(o.Command) == 0 || o.Command[0] == "" {
		return nil, OptionError{"command", errors.New("no program")}
	}
	path, err := exec.LookPath(o.Command[0])
	if err != nil {
		return nil, OptionError{"command", err}
	}
	return func(ctx context.Context, t Target) (Report, error) { return o.run(ctx, path, t) }, nil
}

// graceOfPipes is how long the output is waited for once the program itself has ended or been killed: something it
// started may hold it open.
const graceOfPipes = 100 * time.Millisecond

func (o Exec) run(ctx context.Context, path string, t Target) (Report, error) {
	var said firstLine
	cmd := exec.CommandContext(ctx, path, o.Command[1:]...)
	cmd.Env = append(os.Environ(), t.environ()...)
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	kill := func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Cancel = kill
	cmd.WaitDelay = graceOfPipes
	if err := cmd.Start(); err != nil {
		if errors.Is(err, syscall.EAGAIN) {
			err = fmt.Errorf("%w: %w", ErrShortage, err) // no more processes
		}
		return Report{}, fmt.Errorf("run %s: %w", path, err)
	}
	err := cmd.Wait()
	if errors.Is(err, errTooTalkative) {
		err = nil // it has ended well all the same
	}
	if errors.Is(err, exec.ErrWaitDelay) {
		// Whatever holds the output open is still in the group, so the group is still there to be killed.
		_ = kill()
		err = nil
	}
	reason := said.String()
	report := Report{Detail: reason}
	var exit *exec.ExitError
	switch {
	case err == nil:
		return report, nil
	case errors.Is(ctx.Err(), context.Canceled):
		return report, context.Canceled
	case ctx.Err() != nil:
		return report, fmt.Errorf("%w: expected exit code 0, killed after %s", timeoutError{}, quote([]byte(reason)))
	case errors.As(err, &exit):
		return report, fmt.Errorf("expected exit code 0, got %v: %s", exit, quote([]byte(reason)))
	}
	return report, fmt.Errorf("run %s: %w", path, err)
}

// environ tells a program about its target.
func (t Target) environ() []string {
	host, port, err := net.SplitHostPort(t.Address)
	if err != nil {
		host, port = t.Address, "" // a unix socket
	}
	return []string{
		"WEIR_CLUSTER=" + t.Cluster, "WEIR_SERVER=" + t.Server,
		"WEIR_ADDRESS=" + t.Address, "WEIR_HOST=" + host, "WEIR_PORT=" + port,
	}
}

// maxOutput is how many bytes of a program's output are read.
const maxOutput = 1 << 20

var errTooTalkative = errors.New("too much output")

// firstLine keeps the beginning of what is written to it and takes the rest without keeping it, up to maxOutput: then
// writing fails, and a program that goes on writing is told by its pipe that nobody reads.
type firstLine struct {
	kept  []byte
	taken int
}

func (l *firstLine) Write(p []byte) (int, error) {
	if room := 1024 - len(l.kept); room > 0 {
		l.kept = append(l.kept, p[:min(len(p), room)]...)
	}
	if l.taken += len(p); l.taken > maxOutput {
		return 0, errTooTalkative
	}
	return len(p), nil
}

// String returns the first line that is not empty, fit to be shown.
func (l *firstLine) String() string {
	for line := range bytes.Lines(l.kept) {
		if s := strings.TrimSpace(string(line)); s != "" {
			return printable(s)
		}
	}
	return ""
}
