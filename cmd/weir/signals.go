package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// signals are the signals that the process has received. Each kind has a channel of its own, so that many signals of one
// kind cannot displace another; signals that arrive during a reload cause one more reload after it.
type signals struct {
	reload  chan os.Signal // HUP
	reopen  chan os.Signal // USR1
	upgrade chan os.Signal // USR2
	stop    chan os.Signal // TERM, INT
	// stopRequested is done when a stop has been requested: a start or a reload then skips name lookups.
	stopRequested context.Context
	requestStop   context.CancelFunc
	done          chan struct{}
	all           []chan os.Signal
}

// receiveSignals starts to receive signals. SIGPIPE is received and dropped, not ignored: programs started by weir would
// inherit an ignored signal.
func receiveSignals(ctx context.Context) *signals {
	s := &signals{stop: make(chan os.Signal, 2), done: make(chan struct{})}
	s.stopRequested, s.requestStop = context.WithCancel(ctx)
	s.reload, s.reopen, s.upgrade = s.receive(1, syscall.SIGHUP), s.receive(1, syscall.SIGUSR1), s.receive(1, syscall.SIGUSR2)
	s.receive(1, syscall.SIGPIPE)
	stop := s.receive(2, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		for {
			select {
			case sig := <-stop:
				s.requestStop()
				select {
				case s.stop <- sig:
				default:
				}
			case <-s.done:
				return
			}
		}
	}()
	return s
}

func (s *signals) receive(size int, kinds ...os.Signal) chan os.Signal {
	c := make(chan os.Signal, size)
	signal.Notify(c, kinds...)
	s.all = append(s.all, c)
	return c
}

// ignoringReload calls start, which starts the new process of an upgrade. SIGHUP is ignored meanwhile: the new process inherits that until
// it calls receiveSignals, and does not end at one that arrives before. Blocking it would not do, because the runtime of Go
// unblocks it before any handler. Nothing is lost if the upgrade succeeds, because the new process reads the configuration afterwards.
func (s *signals) ignoringReload(start func() error) error {
	signal.Ignore(syscall.SIGHUP)
	defer signal.Notify(s.reload, syscall.SIGHUP)
	return start()
}

// close ends the handling of signals. They are still received and dropped, without a moment between: one that arrives while the
// process exits would kill it and change its exit code.
func (s *signals) close() {
	signal.Notify(make(chan os.Signal, 1), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGPIPE)
	for _, c := range s.all {
		signal.Stop(c)
	}
	close(s.done)
	s.requestStop()
}

// handleRequests acts on signals and requests until the process stops, and returns the exit code.
func (d *daemon) handleRequests(ctx context.Context) int {
	for {
		// During an upgrade the configuration must not change: the new process has received it already.
		signalled, requested, loaded := d.signals.reload, d.reloads, d.loading.result()
		if d.upgrading != nil {
			signalled, requested, loaded = nil, nil, nil
		}
		shareds := d.shareds
		if d.upgrading != nil || d.loading != nil {
			shareds = nil
		}
		select {
		case <-signalled:
			d.requestReload(nil)
		case result := <-requested:
			d.requestReload(result)
		case r := <-shareds:
			d.startReload(r.shared, []chan error{r.result})
		case r := <-loaded:
			d.finishReload(r)
		case <-d.staleCheck:
			d.reportStale()
		case <-d.signals.reopen:
			d.reopenLog()
		case <-d.signals.upgrade:
			if err := d.beginUpgrade(ctx); err != nil {
				d.log.Warn("upgrade refused", "reason", err)
			}
		case result := <-d.upgrades:
			d.upgradeFor(ctx, result)
		case u := <-d.upgrading:
			if d.endUpgrade(u) {
				return d.drainAfterUpgrade(ctx, u.PID, false)
			}
		case sig := <-d.signals.stop:
			return d.stop(ctx, sig.String(), false)
		case now := <-d.stops:
			return d.stop(ctx, "api", now)
		case <-ctx.Done():
			return d.stop(context.WithoutCancel(ctx), syscall.SIGTERM.String(), false)
		}
	}
}
