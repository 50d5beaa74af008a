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
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"

	"weir/internal/cli"
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
	announcer := d.announcer
	if d.supervisor != nil {
		if announcer, err = d.supervisor.beginUpgrade(); err != nil {
			return status.Upgrade{}, err
		}
		defer announcer.Close()
	}
	u, err := d.engine.Upgrade(ctx, engine.UpgradeOptions{
		Command: func(descriptor int) *exec.Cmd { return d.newProcess(descriptor, announcer) }, During: d.signals.ignoringReload, Stays: d.supervisor != nil,
		AdminSockets: sockets, PauseAdmin: d.api.PauseAccept, CloseAdmin: d.api.HandOver,
	})
	switch {
	case d.supervisor != nil && err != nil:
		d.supervisor.cancelUpgrade()
	case d.supervisor != nil:
		d.supervisor.follow(u.PID)
	case err == nil:
		announce(announcer, u.PID) // the new process does so too, in case this one ends now
	}
	return u, err
}

// newProcess returns the command of the new process, which has its end of the handover at descriptor.
func (d *daemon) newProcess(descriptor int, announcer *os.File) *exec.Cmd {
	cmd := &exec.Cmd{
		Path: d.program, Args: os.Args, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Env: append(os.Environ(), fmt.Sprintf("%s=%d", handoverEnv, descriptor)),
	}
	if announcer != nil {
		cmd.ExtraFiles = []*os.File{announcer}
		cmd.Env = append(cmd.Env, fmt.Sprintf("%s=%d", announceEnv, descriptor+1))
	}
	return cmd
}

// endUpgrade logs the result of an upgrade and sends it to the requests that wait for it. It reports whether the new
// process has taken over.
func (d *daemon) endUpgrade(u upgradeResult) bool {
	d.cancelUpgrade()
	d.upgrading = nil
	if u.err != nil {
		d.log.Error("upgrade_failed", "event", "upgrade_failed", "error", u.err)
		d.engine.UpgradeFailed(u.err)
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

// drainAfterUpgrade waits for the sessions that stay in this process and returns the exit code. It forwards signals to the
// new process. A stop signal after the first cuts the sessions: this process is draining already. A process that stays
// after an upgrade forwards stop signals too, and waits for the processes that serve.
func (d *daemon) drainAfterUpgrade(ctx context.Context, pid int, stop bool) int {
	close(d.stopping)
	d.cancelReload()
	d.manager.close() // the new process notifies the service manager now
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	forward, ended := func(sig syscall.Signal) { syscall.Kill(pid, sig) }, (<-chan struct{})(nil)
	if d.supervisor != nil {
		forward, ended = d.supervisor.forward, d.supervisor.ended
	}
	if stop {
		forward(syscall.SIGTERM)
	}
	var newEnded <-chan struct{}
	if d.announcer != nil {
		newEnded = d.engine.NewProcessEnded()
	}
	done := make(chan int, 1)
	go func() { done <- d.engine.FinishUpgrade(ctx) }()
	for drained, code, signalled := false, 0, stop; ; {
		select {
		case <-d.signals.reload:
			forward(syscall.SIGHUP)
		case <-d.signals.reopen:
			d.reopenLog()
			forward(syscall.SIGUSR1)
		case <-d.signals.upgrade:
			forward(syscall.SIGUSR2)
		case sig := <-d.signals.stop:
			if d.supervisor != nil {
				forward(sig.(syscall.Signal))
			}
			if signalled {
				cancel()
			}
			signalled = true
		case now := <-d.stops:
			if now {
				cancel()
			}
		case <-ended:
			ended = nil
			if code = d.supervisor.code; failed(code) {
				cancel() // the service is down: a supervisor should restart it now
			}
			d.log.Info("upgraded process ended", "exit_code", code)
			if drained {
				return d.supervisedExit(code)
			}
		case <-newEnded:
			newEnded = nil
			if failed(d.engine.NewProcessExitCode()) {
				cancel() // the process that stays waits for this one before it reports the failure
			}
		case cut := <-done:
			if d.supervisor == nil {
				return d.finishStop(cut)
			}
			done, drained, d.cut = nil, true, cut
			close(d.stopped)
			d.log.Info("drained after upgrade, waiting for the new process", "sessions_cut", cut)
			d.api.Close()
			debug.FreeOSMemory()
			if ended == nil {
				return d.supervisedExit(code)
			}
		}
	}
}

// failed reports whether an exit code is that of a process that did not stop as requested.
func failed(code int) bool { return code != cli.ExitOK && code != cli.ExitCut }

// supervisedExit returns the exit code of a process that has stayed after an upgrade: that of the process that served, or
// that of a stop that cut sessions if this process has cut some.
func (d *daemon) supervisedExit(code int) int {
	if code == cli.ExitOK && d.cut > 0 {
		return cli.ExitCut
	}
	return code
}
