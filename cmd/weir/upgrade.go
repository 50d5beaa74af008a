package main

// Replacing the running program by the one that is on disk now: a process of the same command line takes everything over,
// and this one goes.

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

// handOverEnv tells a process that another one hands over to it, and by which descriptor.
const handOverEnv = "WEIR_HANDOVER"

// programPath is where the program that runs can be found again after it was replaced: by the name that it was started
// by, or else by where the kernel has found it.
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

// predecessor meets the process that hands over to this one; nil when there is none.
func predecessor() (*engine.OldProcess, error) {
	text, ok := os.LookupEnv(handOverEnv)
	if !ok {
		return nil, nil
	}
	os.Unsetenv(handOverEnv) // it is not for the programs of checks and hooks
	descriptor, err := strconv.Atoi(text)
	if err != nil || descriptor < 3 {
		return nil, fmt.Errorf("%s=%s: want the number of a descriptor", handOverEnv, text)
	}
	return engine.AcceptUpgrade(descriptor, version())
}

// upgradeFor starts an upgrade for somebody who waits for the outcome.
func (d *daemonState) upgradeFor(ctx context.Context, asked chan upgraded) {
	if err := d.beginUpgrade(ctx); err != nil {
		asked <- upgraded{err: err}
		return
	}
	d.askers = append(d.askers, asked)
}

// upgraded is what became of an upgrade.
type upgraded struct {
	status.Upgrade
	err error
}

// beginUpgrade starts an upgrade, unless one is under way.
func (d *daemonState) beginUpgrade(ctx context.Context) error {
	if d.upgrading != nil {
		return &status.RequestError{Kind: status.Conflict, Text: "an upgrade is under way"}
	}
	if d.path == "" {
		return &status.RequestError{Kind: status.Conflict, Text: "it is not known where the program is"}
	}
	d.log.Info("upgrade", "program", d.path)
	ctx, d.callOff = context.WithCancel(ctx)
	d.upgrading = make(chan upgraded, 1)
	go func() {
		u, err := d.upgrade(ctx)
		d.upgrading <- upgraded{u, err}
	}()
	return nil
}

func (d *daemonState) upgrade(ctx context.Context) (status.Upgrade, error) {
	doors, err := d.api.Sockets()
	if err != nil {
		return status.Upgrade{}, err
	}
	defer func() {
		for _, f := range doors {
			f.Close()
		}
	}()
	return d.engine.Upgrade(ctx, engine.UpgradeOptions{
		Command: func(descriptor int) *exec.Cmd {
			return &exec.Cmd{
				Path: d.path, Args: os.Args, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
				Env: append(os.Environ(), fmt.Sprintf("%s=%d", handOverEnv, descriptor)),
			}
		},
		AdminSockets: doors, PauseAdmin: d.api.Hold, CloseAdmin: d.api.Leave,
	})
}

// endUpgrade tells those who have asked what became of an upgrade, and whether this process is to go.
func (d *daemonState) endUpgrade(u upgraded) (goes bool) {
	d.callOff()
	d.upgrading = nil
	if u.err != nil {
		d.log.Error("upgrade_failed", "event", "upgrade_failed", "error", u.err)
	} else {
		d.log.Info("upgraded", "event", "upgrade", "pid", u.PID, "version", u.Version, "sessions_moved", u.Moved,
			"sessions_left", u.Left, "took_ms", u.TookMS)
	}
	for _, asked := range d.askers {
		asked <- u
	}
	d.askers = nil
	return u.err == nil
}

// leave waits for the sessions that stay in this process. What it was asked for meanwhile is for the process that serves
// now.
func (d *daemonState) leave(ctx context.Context, pid int, reloads, stops chan os.Signal) int {
	close(d.stopping)
	d.manager.leave() // it listens to the new process now
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan int, 1)
	go func() { done <- d.engine.FinishUpgrade(ctx) }()
	for asked := false; ; {
		select {
		case <-reloads:
			syscall.Kill(pid, syscall.SIGHUP)
		case <-stops: // it is draining already
			if asked {
				cancel()
			}
			asked = true
		case now := <-d.stops:
			if now {
				cancel()
			}
		case cut := <-done:
			return d.gone(cut)
		}
	}
}

// Upgrade hands over to the program that is on disk now, and returns the outcome.
func (o *operator) Upgrade(ctx context.Context) (status.Upgrade, error) {
	outcome := make(chan upgraded, 1)
	select {
	case o.process.upgrades <- outcome:
	case <-o.process.stopping:
		return status.Upgrade{}, &status.RequestError{Kind: status.Unavailable, Text: engine.ErrStopped.Error()}
	case <-ctx.Done():
		return status.Upgrade{}, ctx.Err()
	}
	u := <-outcome
	var r *status.RequestError
	if u.err != nil && !errors.As(u.err, &r) {
		u.err = &status.RequestError{Kind: status.Unprocessable, Text: "upgrade: " + u.err.Error()}
	}
	return u.Upgrade, u.err
}
