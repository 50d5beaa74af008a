package checks

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"

	"weir/internal/procgroup"
)

// Exec runs a program on this host. The server passes if the exit code is 0. The first line of output is the reason in
// both cases. The program gets the environment of this process and WEIR_CLUSTER, WEIR_SERVER, WEIR_ADDRESS, WEIR_HOST
// and WEIR_PORT.
type Exec struct {
	Command []string // the program and its arguments; not a shell line
}

// Monitor returns the monitor, or an OptionError if the program cannot be found.
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

func (o Exec) run(ctx context.Context, path string, t Target) (Report, error) {
	cmd := procgroup.New(ctx, maxSkipped, path, o.Command[1:]...)
	cmd.Env = append(cmd.Env, t.environ()...)
	if err := cmd.Start(); err != nil {
		// The limit of processes is reached, or the program is missing or may not be run.
		return Report{}, fmt.Errorf("%w: run %s: %w", ErrShortage, path, err)
	}
	err := cmd.Wait()
	reason := clipText(cmd.FirstLine())
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

// environ returns the variables that describe the target to a program.
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
