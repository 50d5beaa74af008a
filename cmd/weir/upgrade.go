package main

// Upgrade to the program on disk: a new process with the same command line takes over sockets, sessions and state, and
// this process exits.

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"weir/internal/engine"
	"weir/internal/status"
)

// handoverEnv holds the descriptor over which an old process hands over to this one.
const handoverEnv = "WEIR_HANDOVER"

// programPath returns the path under which a newer version of the running binary will be found: the name it was started
// with, if that still leads to it, else the path that the kernel reports.
func programPath() (string, error) {
	path := os.Args[0]
	if !strings.Contains(path, "/") {
		found, err := exec.LookPath(path)
		if err != nil && !errors.Is(err, exec.ErrDot) {
			found = ""
		}
		path = found
	}
	if path != "" {
		if whole, err := filepath.Abs(path); err == nil && sameFile(whole, "/proc/self/exe") {
			return whole, nil
		}
	}
	return os.Executable()
}

func sameFile(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}

// acceptUpgrade connects to the old process that hands over to this one. It returns nil if there is none.
func acceptUpgrade() (*engine.OldProcess, error) {
	text, ok := os.LookupEnv(handoverEnv)
	if !ok {
		return nil, nil
	}
	os.Unsetenv(handoverEnv) // programs of checks and hooks must not inherit it
	descriptor, err := strconv.Atoi(text)
	if err != nil || descriptor < 3 {
		return nil, fmt.Errorf("%s=%s: want a file descriptor, at least 3", handoverEnv, text)
	}
	return engine.AcceptUpgrade(descriptor, version())
}

// upgradeFor starts an upgrade and sends its result to a request.
func (d *daemon) upgradeFor(ctx context.Context, result chan upgradeResult) {
	if err := d.beginUpgrade(ctx); err != nil {
		result <- upgradeResult{err: err}
		return
	}
	d.upgradeWaiters = append(d.upgradeWaiters, result)
}

// upgradeResult is the result of an upgrade.
type upgradeResult struct {
	status.Upgrade
	err error
}

// beginUpgrade starts an upgrade unless one is in progress.
func (d *daemon) beginUpgrade(ctx context.Context) error {
	if d.upgrading != nil {
		return &status.RequestError{Kind: status.Conflict, Text: "an upgrade is in progress"}
	}
	if d.program == "" {
		return &status.RequestError{Kind: status.Conflict, Text: "cannot determine path of the running binary"}
	}
	d.log.Info("upgrade", "program", d.program)
	ctx, d.cancelUpgrade = context.WithCancel(ctx)
	d.upgrading = make(chan upgradeResult, 1)
	go func() {
		u, err := d.upgrade(ctx)
		d.upgrading <- upgradeResult{u, err}
	}()
	return nil
}

func (d *daemon) upgrade(ctx context.Context) (status.Upgrade, error) {
	sockets, err := d.api.Sockets()
	if err != nil {
		return status.Upgrade{}, err
	}
	defer func() {
		for _, f := range sockets {
			f.Close()
		}
	}()
	return d.engine.Upgrade(ctx, engine.UpgradeOptions{
		Command: func(descriptor int) *exec.Cmd {
			return &exec.Cmd{
				Path: d.program, Args: os.Args, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
				Env: append(os.Environ(), fmt.Sprintf("%s=%d", handoverEnv, descriptor)),
			}
		},
		AdminSockets: sockets, PauseAdmin: d.api.PauseAccept, CloseAdmin: d.api.HandOver,
	})
}

// endUpgrade logs the result of an upgrade and sends it to the requests that wait for it. It reports whether the new
// process has taken over.
func (d *daemon) endUpgrade(u upgradeResult) bool {
	d.cancelUpgrade()
	d.upgrading = nil
	if u.err != nil {
		d.log.Error("upgrade_failed", "event", "upgrade_failed", "error", u.err)
	} else {
		d.log.Info("upgraded", "event", "upgrade", "pid", u.PID, "version", u.Version, "sessions_moved", u.Moved,
			"sessions_left", u.Left, "took_ms", u.TookMS)
	}
	for _, result := range d.upgradeWaiters {
		result <- u
	}
	d.upgradeWaiters = nil
	return u.err == nil
}

// drainAfterUpgrade waits for the sessions that stay in this process and returns the exit code. It forwards reload signals
// to the new process. A stop signal after the first cuts the sessions: this process is draining already.
func (d *daemon) drainAfterUpgrade(ctx context.Context, pid int, reloads chan os.Signal) int {
	close(d.stopping)
	d.manager.close() // the new process notifies the service manager now
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan int, 1)
	go func() { done <- d.engine.FinishUpgrade(ctx) }()
	for signalled := false; ; {
		select {
		case <-reloads:
			syscall.Kill(pid, syscall.SIGHUP)
		case <-d.signals.stop:
			if signalled {
				cancel()
			}
			signalled = true
		case now := <-d.stops:
			if now {
				cancel()
			}
		case cut := <-done:
			return d.finishStop(cut)
		}
	}
}
