package main

import (
	"context"
	"fmt"

	sd "github.com/coreos/go-systemd/v22/daemon"

	"weir/internal/cli"
)

// stop drains sessions, or cuts them immediately with now, and returns the exit code. A second signal or request cuts the
// remaining sessions. An upgrade in progress is cancelled unless it is complete.
func (d *daemon) stop(ctx context.Context, why string, now bool) int {
	if d.upgrading != nil {
		d.cancelUpgrade()
		if u := <-d.upgrading; d.endUpgrade(u) {
			return d.drainAfterUpgrade(ctx, u.PID, true)
		}
	}
	close(d.stopping)
	d.cancelReload()
	d.manager.notify(sd.SdNotifyStopping, fmt.Sprintf("STATUS=draining, %d sessions", d.engine.Sessions()))
	d.log.Info("stopping", "signal", why, "sessions", d.engine.Sessions())
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if now {
		cancel()
	}
	done := make(chan int, 1)
	go func() { done <- d.engine.Stop(ctx) }()
	for {
		select {
		case <-d.signals.stop:
			cancel()
		case now := <-d.stops:
			if now {
				cancel()
			}
		case cut := <-done:
			return d.finishStop(cut)
		}
	}
}

// finishStop publishes the number of sessions cut and returns the exit code.
func (d *daemon) finishStop(cut int) int {
	d.cut = cut
	close(d.stopped)
	d.log.Info("stopped", "sessions_cut", cut)
	if cut > 0 {
		return cli.ExitCut
	}
	return cli.ExitOK
}
