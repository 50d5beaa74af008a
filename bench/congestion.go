package main

// The congestion control is set in a network namespace of its own, so that the machine's setting stays as it is: this
// program runs itself there, once for each control.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall" // flags of new processes

	"golang.org/x/sys/unix"
)

const (
	namespaceVariable = "WEIR_BENCH_CONGESTION"                             // tells a run in its own namespace which control to set
	allowedFile       = "/proc/sys/net/ipv4/tcp_allowed_congestion_control" // outside of the first namespace
	congestionFile    = "/proc/sys/net/ipv4/tcp_congestion_control"
)

func inOwnNamespace() bool { return os.Getenv(namespaceVariable) != "" }

// measureWith runs this program with the same arguments once for each congestion control.
func measureWith(ctx context.Context, controls, args []string, out, errOut io.Writer) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	var errs []error
	for _, control := range controls {
		restore, err := allowControl(control)
		if err != nil {
			return fmt.Errorf("congestion control %s: %w", control, err)
		}
		cmd := exec.CommandContext(ctx, self, args...)
		cmd.Env = append(os.Environ(), namespaceVariable+"="+control)
		cmd.Stdout, cmd.Stderr = out, errOut
		cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGTERM}
		if err := cmd.Run(); err != nil {
			errs = append(errs, fmt.Errorf("congestion control %s: %w", control, err))
		}
		errs = append(errs, restore())
	}
	return errors.Join(errs...)
}

// allowControl lets other network namespaces than the first one use a congestion control, and returns a function that
// undoes it.
func allowControl(control string) (restore func() error, err error) {
	text, err := os.ReadFile(allowedFile)
	if err != nil || slices.Contains(strings.Fields(string(text)), control) {
		return func() error { return nil }, err
	}
	if err := os.WriteFile(allowedFile, fmt.Appendf(nil, "%s %s", strings.TrimSpace(string(text)), control), 0); err != nil {
		available, _ := os.ReadFile("/proc/sys/net/ipv4/tcp_available_congestion_control")
		return nil, fmt.Errorf("%w; this kernel has %s", err, strings.TrimSpace(string(available)))
	}
	return func() error { return os.WriteFile(allowedFile, text, 0) }, nil
}

// prepareNamespace sets the congestion control of this run's namespace and brings its loopback interface up. Without
// controls it changes nothing. It returns the control in force.
func prepareNamespace(controls []string) (string, error) {
	if len(controls) > 0 {
		if err := loopbackUp(); err != nil {
			return "", fmt.Errorf("loopback interface: %w", err)
		}
		if err := os.WriteFile(congestionFile, []byte(os.Getenv(namespaceVariable)), 0); err != nil {
			return "", fmt.Errorf("congestion control %s: %w", os.Getenv(namespaceVariable), err)
		}
	}
	text, err := os.ReadFile(congestionFile)
	return strings.TrimSpace(string(text)), err
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request)
}
