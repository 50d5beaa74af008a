package engine

// The old process of an upgrade: what it transfers, and when it stops serving. See package handover for the protocol.

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"time"

	"weir/internal/handover"
	"weir/internal/privileges"
	"weir/internal/status"
	"weir/l4"
)

// UpgradeOptions describe the new process of an upgrade and the part that the API takes in it.
type UpgradeOptions struct {
	// Command returns the command of the new process, which passes descriptor to AcceptUpgrade.
	Command func(descriptor int) *exec.Cmd
	// During calls start, which starts the new process: what it inherits then is the caller's to set.
	During func(start func() error) error
	// Stays reports that this process does not end before the new one, and waits for it.
	Stays bool

	AdminSockets map[string]*os.File  // of the API, by address; stay the caller's
	PauseAdmin   func(pause bool)     // stops accepting at those, or resumes
	CloseAdmin   func(taken []string) // closes those, but keeps the files of unix sockets that were taken over
}

// newProcess is the new process of an upgrade, once it serves.
type newProcess struct {
	*handover.NewProcess
	takesSessions bool
}

// Upgrade transfers everything to a new process. An error means that nothing has changed and the engine continues.
// Otherwise the new process serves, and the caller waits for the remaining sessions with FinishUpgrade. ctx cancels the
// upgrade until the new process serves. An upgrade to this process is completed first.
func (e *Engine) Upgrade(ctx context.Context, o UpgradeOptions) (status.Upgrade, error) {
	if e.oldProcess != nil {
		select {
		case <-e.oldProcess.done:
		case <-ctx.Done():
			return status.Upgrade{}, fmt.Errorf("cancelled: %w", ErrStopped)
		}
	}
	began := time.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.stopped {
		return status.Upgrade{}, ErrStopped
	}
	p, err := handover.Start(func(descriptor int) *exec.Cmd {
		cmd := o.Command(descriptor)
		privileges.Inherit(cmd)
		return cmd
	}, hello(e.published.version), o.During)
	if err != nil {
		return status.Upgrade{}, err
	}
	disarm := context.AfterFunc(ctx, p.Kill)
	var ready handover.Ready
	e.holdDraining()
	defer e.releaseDraining()
	sockets, err := e.listenSockets(o.AdminSockets)
	if err == nil {
		ready, err = p.Prepare(sockets, e.transferredState)
	}
	if err == nil {
		err = e.commitUpgrade(p, o, disarm)
	}
	if err != nil {
		disarm()
		p.Kill()
		err = p.Explain(err)
		p.Close()
		if ctx.Err() != nil {
			err = fmt.Errorf("cancelled: %w", ErrStopped)
		}
		return status.Upgrade{}, err
	}
	moved, err := e.moveFlows(p, ready)
	if err == nil {
		var sessions int
		sessions, err = e.moveSessions(p)
		moved += sessions
	}
	if err == nil && !o.Stays && !p.Leave() {
		err = errNewProcessEnded
	}
	if err != nil && p.Exited() { // the sessions that were not moved are still here
		e.setAccepting(o, true)
		e.handOverPromotion(false)
		e.forgetElsewhere()
		e.published.overrides.Lock()
		e.published.handedOver.Store(false)
		e.published.overrides.Unlock()
		notify(e.vips.changed) // they are this process's again
		e.rejoinFleet()
		p.Close()
		return status.Upgrade{}, fmt.Errorf("the new process ended: %s; %d sessions moved to it are lost", p.State(), moved)
	}
	if err != nil {
		e.sessionsStay(err)
	}
	e.stopped = true
	e.published.stopping.Store(true)
	e.closeListeners(ready)
	o.CloseAdmin(ready.Admin)
	e.newProcess = &newProcess{p, err == nil}
	e.sendCounters()
	return status.Upgrade{
		PID: p.PID(), Version: p.Version(), Previous: os.Getpid(),
		Moved: moved, Left: e.plane.Sessions(), TookMS: float64(time.Since(began).Microseconds()) / 1000,
	}, nil
}

var errNewProcessEnded = errors.New("the new process has ended")

func hello(version string) handover.Hello {
	return handover.Hello{Sessions: l4.SessionFormat, Flows: l4.FlowFormat, Version: version}
}

// listenSockets returns the sockets of all listeners and of the API.
func (e *Engine) listenSockets(admin map[string]*os.File) (sockets []handover.Socket, err error) {
	for id, ln := range e.listeners {
		sockets = append(sockets, handover.Socket{Kind: handover.ListenerSocket, Name: id, Descriptors: ln.Sockets(), KeepFile: ln.KeepsFile()})
	}
	for id, ln := range e.heldListeners {
		sockets = append(sockets, handover.Socket{Kind: handover.ListenerSocket, Name: id, Descriptors: ln.Sockets()})
	}
	for address, f := range admin {
		fd, err := l4.DescriptorOf(f)
		if err != nil {
			return nil, err
		}
		sockets = append(sockets, handover.Socket{Kind: handover.AdminSocket, Name: address, Descriptors: []int32{fd}})
	}
	return append(sockets, e.promotionSockets()...), nil
}

// commitUpgrade stops accepting and resumes if the new process does not take over. disarm stops ctx from killing the new
// process and reports whether it was in time.
func (e *Engine) commitUpgrade(p *handover.NewProcess, o UpgradeOptions, disarm func() bool) error {
	e.published.overrides.Lock()
	defer e.published.overrides.Unlock()
	e.setAccepting(o, false)
	e.handOverPromotion(true)
	e.freezeLimits(true)
	err := p.Commit(e.transferredState)
	if err == nil && !disarm() {
		err = ErrStopped
	}
	if err != nil {
		p.Kill() // only one process may accept
		e.freezeLimits(false)
		e.handOverPromotion(false)
		e.setAccepting(o, true)
		return err
	}
	e.published.handedOver.Store(true)
	notify(e.vips.changed) // they are the new process's
	e.leaveFleet()
	return nil
}

// setAccepting stops, or resumes, accepting clients and API requests and writing the state file.
func (e *Engine) setAccepting(o UpgradeOptions, accept bool) {
	if accept {
		e.plane.ResumeAccept()
		o.PauseAdmin(false)
		e.stateFile.Reclaim()
	} else {
		e.plane.PauseAccept()
		o.PauseAdmin(true)
		e.stateFile.Release()
	}
}

// moveFlows moves the flows of the UDP listeners that the new process has taken over.
func (e *Engine) moveFlows(p *handover.NewProcess, ready handover.Ready) (moved int, err error) {
	taken := e.takenOver(ready)
	batches := e.plane.Batches()
	return p.MoveFlows(func() *handover.Batch { return batchOf(batches.NextFlows(taken)) })
}

// takenOver returns a function that reports whether the new process has taken a listener over.
func (e *Engine) takenOver(ready handover.Ready) func(*l4.Listener) bool {
	taken := map[*l4.Listener]bool{}
	for _, id := range ready.Listeners {
		taken[e.listeners[id]], taken[e.heldListeners[id]] = true, true
	}
	return func(ln *l4.Listener) bool { return taken[ln] }
}

// moveSessions moves the sessions that can move now.
func (e *Engine) moveSessions(p *handover.NewProcess) (moved int, err error) {
	batches := e.plane.Batches()
	return p.MoveSessions(func() *handover.Batch { return batchOf(batches.Next()) })
}

func batchOf(b *l4.HandoverBatch) *handover.Batch {
	if b == nil {
		return nil
	}
	return &handover.Batch{Body: b.Body, Descriptors: b.Descriptors, Sessions: b.Sessions(), Confirm: b.Confirm, Return: b.Resume}
}

// closeListeners closes the listen sockets that the new process has taken over. Listeners that have left the
// configuration accept the clients in their queues first. Checks and hooks are left to the new process.
func (e *Engine) closeListeners(ready handover.Ready) {
	for id, ln := range e.listeners {
		if !slices.Contains(ready.Listeners, id) {
			ln.Stop()
		}
	}
	e.plane.ResumeDrainingListeners(e.takenOver(ready))
	e.plane.CloseListenSockets()
	e.listeners = nil
	e.runner.Close()
	e.hooks.StopAccepting()
}

func (e *Engine) sendCounters() {
	if err := e.newProcess.SendCounters(e.counts(*e.published.listeners.Load())); err != nil {
		e.log.Debug("upgrade: cannot send counters to the new process", "error", err)
	}
}

// sessionsStay records that the remaining sessions cannot move.
func (e *Engine) sessionsStay(err error) {
	e.forgetElsewhere() // those that wait here must not wait for what has moved
	e.log.Warn("upgrade: remaining sessions end in the old process", "error", err)
}

// NewProcessEnded returns a channel that is closed when the new process ends. It is called after Upgrade.
func (e *Engine) NewProcessEnded() <-chan struct{} { return e.newProcess.Ended() }

// NewProcessExitCode returns the exit code of a new process that has ended, or -1 if a signal has ended it.
func (e *Engine) NewProcessExitCode() int { return e.newProcess.ExitCode() }

const (
	moveInterval    = 10 * time.Millisecond // between attempts to move sessions that could not move before
	counterInterval = time.Second           // between messages with counters
	endedInterval   = 50 * time.Millisecond // likewise, if sessions have ended
)

// FinishUpgrade waits, for at most drain_timeout, until the remaining sessions have ended or moved, cuts the others and
// closes the engine. It returns the number of sessions cut. It waits longer for sessions that will move within a timeout of their
// own: drain_timeout is for those that cannot.
func (e *Engine) FinishUpgrade(stop context.Context) int {
	ctx, cancel := context.WithTimeout(stop, e.running.Load().cfg.Runtime.DrainTimeout)
	defer cancel()
	tick := time.NewTicker(moveInterval)
	defer tick.Stop()
	left := e.plane.Sessions()
	remain := func() bool {
		switch {
		case e.plane.Sessions() == 0 && e.plane.PendingClients() == 0, stop.Err() != nil:
			return false
		case ctx.Err() == nil:
			return true
		}
		return e.newProcess.takesSessions && e.plane.WillMove() > 0
	}
	for sent := time.Now(); remain(); {
		if e.newProcess.takesSessions {
			if _, err := e.moveSessions(e.newProcess.NewProcess); err != nil {
				e.sessionsStay(err)
				e.newProcess.takesSessions = false
			}
		}
		ended := e.plane.Sessions() < left // clients of the new process may wait for their slots
		if wait := time.Since(sent); wait > counterInterval || ended && wait > endedInterval {
			sent, left = time.Now(), e.plane.Sessions()
			e.sendCounters()
		}
		select {
		case <-tick.C:
		case <-e.plane.Idle():
		case <-stop.Done():
		}
	}
	cut := e.cutAll(stop)
	e.close()
	e.sendCounters() // final: nothing is counted after close
	e.newProcess.Close()
	return cut
}
