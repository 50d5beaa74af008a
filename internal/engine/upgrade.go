package engine

// The old process of a hand-over: it starts the new one, and goes when that has everything.

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"time"

	"weir/internal/privileges"
	"weir/internal/status"
	"weir/l4"
)

// Succession is how the process is to be replaced.
type Succession struct {
	Path                  string                        // of the program
	Args                  []string                      // its whole command line
	Env                   func(descriptor int) []string // its environment, in which it finds the number of its end of the wire
	Stdin, Stdout, Stderr *os.File

	Doors map[string]*os.File  // the sockets of the API, by address; they stay the caller's
	Hold  func(hold bool)      // stops accepting at those, or goes on
	Leave func(taken []string) // leaves those that were taken over to the other process, and closes the others
}

// Upgrade hands everything over to another process. When it returns an error, nothing has happened, and the engine goes
// on. Otherwise the other process serves, and the caller waits for what is left with Leave. ctx calls it off, up to the
// moment when the other process serves.
func (e *Engine) Upgrade(ctx context.Context, s Succession) (status.Upgrade, error) {
	began := time.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.stopped {
		return status.Upgrade{}, ErrStopped
	}
	p, err := startSuccessor(s)
	if err != nil {
		return status.Upgrade{}, err
	}
	keep := context.AfterFunc(ctx, p.kill)
	ready, err := e.introduce(p, s)
	if err == nil {
		err = e.commitTo(p, s, keep)
	}
	if err != nil {
		keep()
		p.kill()
		err = p.explain(err)
		p.wire.Close()
		if ctx.Err() != nil {
			err = fmt.Errorf("called off: %w", ErrStopped)
		}
		return status.Upgrade{}, err
	}
	moved, err := e.moveFlows(p, ready)
	if err == nil {
		var sessions int
		sessions, err = e.move(p)
		moved += sessions
	}
	if err != nil && p.hasEnded(lastBreath) { // with what it had; everything else is still here
		e.plane.ResumeAccept()
		s.Hold(false)
		e.leaveStateFile(false)
		e.published.overrides.Lock()
		e.published.handedOver.Store(false)
		e.published.overrides.Unlock()
		p.wire.Close()
		return status.Upgrade{}, fmt.Errorf("the new process ended: %s, with the %d sessions that it had been given", p.cmd.ProcessState, moved)
	}
	p.takes = err == nil
	if err != nil {
		e.log.Warn("hand-over: sessions that are left will end in this process", "error", err)
	}
	e.stopped = true
	e.published.stopping.Store(true)
	e.leave(ready)
	s.Leave(ready.Doors)
	e.newProcess = p
	e.tellCounts()
	return status.Upgrade{
		PID: p.cmd.Process.Pid, Version: p.hello.Version, Previous: os.Getpid(),
		Moved: moved, Left: e.plane.Sessions(), TookMS: float64(time.Since(began).Microseconds()) / 1000,
	}, nil
}

// lastBreath is how long it may take to see that a process has ended whose end of the wire is closed.
const lastBreath = time.Second

// move moves the sessions that can move, and returns how many did. After an error the rest is here, and goes on.
func (e *Engine) move(p *successor) (moved int, err error) {
	if p.hello.Sessions != l4.SessionFormat {
		return 0, fmt.Errorf("the new process knows sessions of format %d, this one of format %d", p.hello.Sessions, l4.SessionFormat)
	}
	return e.pass(p, saySessions, e.plane.Batches().Next)
}

// moveFlows moves the flows of UDP listeners, before the new process looks at what clients have sent meanwhile. After an
// error the rest is here, and goes on.
func (e *Engine) moveFlows(p *successor, ready readiness) (moved int, err error) {
	if p.hello.Flows == l4.FlowFormat {
		taken := map[*l4.Listener]bool{}
		for _, id := range ready.Listeners {
			taken[e.listeners[id]] = true
		}
		m := e.plane.Batches()
		moved, err = e.pass(p, sayFlows, func() *l4.HandoverBatch {
			return m.NextFlows(func(ln *l4.Listener) bool { return taken[ln] })
		})
	}
	if e := send(p.wire, sayNoMoreFlows, nil); err == nil {
		err = e
	}
	return moved, err
}

// pass hands parcels over, one after the other, and returns how many sessions were in them. After an error the rest is
// here, and goes on.
func (e *Engine) pass(p *successor, kind uint8, next func() *l4.HandoverBatch) (moved int, err error) {
	for {
		x := next()
		if x == nil {
			return moved, nil
		}
		p.wire.Deadline(time.Now().Add(servePatience))
		err := p.wire.Send(kind, x.Body, x.Descriptors)
		if err == nil {
			err = hear(p.wire, sayTaken, nil)
		}
		if err == nil {
			err = send(p.wire, sayYours, nil) // if it does not arrive, they are nobody's but ours
		}
		if err != nil {
			x.Resume()
			send(p.wire, sayReturned, nil)
			return moved, err
		}
		x.Confirm()
		moved += x.Sessions()
	}
}

// successor is the new process.
type successor struct {
	cmd    *exec.Cmd
	wire   *l4.Wire
	hello  hello
	takes  bool          // sessions
	exited chan struct{} // closed when it has ended
}

func startSuccessor(s Succession) (*successor, error) {
	wire, theirs, err := l4.NewWire()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	const firstExtra = 3
	cmd := &exec.Cmd{Path: s.Path, Args: s.Args, Env: s.Env(firstExtra), Stdin: s.Stdin, Stdout: s.Stdout, Stderr: s.Stderr, ExtraFiles: []*os.File{theirs}}
	privileges.Inherit(cmd)
	if err := cmd.Start(); err != nil {
		wire.Close()
		return nil, fmt.Errorf("cannot start the new process: %w", err)
	}
	p := &successor{cmd: cmd, wire: wire, exited: make(chan struct{})}
	go func() { // ends with the new process, or with this one
		cmd.Wait()
		close(p.exited)
	}()
	return p, nil
}

// kill ends the new process, which has not taken over.
func (p *successor) kill() { p.cmd.Process.Kill() }

// explain adds to an error what became of the process.
func (p *successor) explain(err error) error {
	<-p.exited
	state := p.cmd.ProcessState
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errors.New("the new process did not get ready in time, and was killed")
	case l4.Gone(err):
		return fmt.Errorf("the new process ended: %s", state)
	}
	return fmt.Errorf("the new process: %w", err)
}

// introduce gives the new process what it needs to get ready, and waits until it is.
func (e *Engine) introduce(p *successor, s Succession) (readiness, error) {
	var ready readiness
	p.wire.Deadline(time.Now().Add(helloPatience))
	if err := send(p.wire, sayHello, hello{Format: handOverFormat, Sessions: l4.SessionFormat, Flows: l4.FlowFormat, PID: os.Getpid(), Version: e.published.version}); err != nil {
		return ready, err
	}
	if err := hear(p.wire, sayHello, &p.hello); err != nil {
		return ready, err
	}
	if p.hello.Format != handOverFormat {
		return ready, fmt.Errorf("its hand-over is of format %d, this one's of %d", p.hello.Format, handOverFormat)
	}
	p.wire.Deadline(time.Now().Add(readyPatience))
	if err := e.sendSockets(p.wire, s.Doors); err != nil {
		return ready, err
	}
	known, err := e.legacy()
	if err == nil {
		err = send(p.wire, sayState, known)
	}
	if err != nil {
		return ready, err
	}
	return ready, hear(p.wire, sayReady, &ready)
}

// sendSockets sends every listening socket.
func (e *Engine) sendSockets(w *l4.Wire, doors map[string]*os.File) error {
	var names []socket
	var fds []int32
	flush := func() error {
		err := send(w, saySockets, names, fds...)
		names, fds = nil, nil
		return err
	}
	add := func(kind, name string, lent bool, own []int32) error {
		for len(own) > 0 {
			n := min(len(own), l4.MaxDescriptors-len(fds))
			if n == 0 {
				if err := flush(); err != nil {
					return err
				}
				continue
			}
			names, fds = append(names, socket{kind, name, n, lent}), append(fds, own[:n]...)
			own = own[n:]
		}
		return nil
	}
	for id, ln := range e.listeners {
		if err := add(socketListener, id, ln.KeepsFile(), ln.Sockets()); err != nil {
			return err
		}
	}
	for name, f := range doors {
		fd, err := l4.DescriptorOf(f)
		if err == nil {
			err = add(socketAdmin, name, false, []int32{fd})
		}
		if err != nil {
			return err
		}
	}
	return flush()
}

// commitTo stops accepting, and goes on when the new process has not taken over. keep sees to it that nobody ends the new
// process any more, and tells whether that came in time.
func (e *Engine) commitTo(p *successor, s Succession, keep func() bool) error {
	e.published.overrides.Lock()
	defer e.published.overrides.Unlock()
	e.plane.PauseAccept()
	s.Hold(true)
	e.leaveStateFile(true)
	p.wire.Deadline(time.Now().Add(servePatience))
	known, err := e.legacy()
	if err == nil {
		err = send(p.wire, sayCommit, known)
	}
	if err == nil {
		err = hear(p.wire, sayServing, nil)
	}
	if err == nil && !keep() {
		err = ErrStopped
	}
	if err != nil {
		p.kill() // oldProcess anything is accepted here
		<-p.exited
		e.plane.ResumeAccept()
		s.Hold(false)
		e.leaveStateFile(false)
		return err
	}
	e.published.handedOver.Store(true)
	return nil
}

// hasEnded waits for the end of the process, for so long.
func (p *successor) hasEnded(within time.Duration) bool {
	select {
	case <-p.exited:
		return true
	case <-time.After(within):
		return false
	}
}

// closeLoops closes what the new process has taken over. Clients at listeners that have left the configuration are let in
// before those are closed. What is checked, and told of it, is the new process's affair.
func (e *Engine) leave(ready readiness) {
	for id, ln := range e.listeners {
		if !slices.Contains(ready.Listeners, id) {
			ln.Stop()
		}
	}
	e.plane.ResumeDrainingListeners()
	e.plane.CloseListenSockets()
	e.listeners = nil
	e.runner.Close()
	e.hooks.StopAccepting()
}

// tellCounts tells the new process what was counted here.
func (e *Engine) tellCounts() {
	e.newProcess.wire.Deadline(time.Now().Add(servePatience))
	if err := send(e.newProcess.wire, sayCounts, e.counts(*e.published.listeners.Load())); err != nil {
		e.log.Debug("hand-over: the new process does not hear what was counted", "error", err)
	}
}

const (
	followEvery = 10 * time.Millisecond // how often sessions are looked for that can move by now
	tellEvery   = time.Second           // how often the new process hears what is counted here
)

// Leave waits until the sessions that could not be handed over have ended, or can be by now, for at most drain_timeout,
// cuts those that are left, and ends everything. It returns how many were cut.
func (e *Engine) Leave(ctx context.Context) int {
	ctx, cancel := context.WithTimeout(ctx, e.running.Load().cfg.Runtime.DrainTimeout)
	defer cancel()
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for told := time.Now(); (e.plane.Sessions() > 0 || e.plane.PendingClients() > 0) && ctx.Err() == nil; {
		if e.newProcess.takes {
			if _, err := e.move(e.newProcess); err != nil {
				e.log.Warn("hand-over: sessions that are left will end in this process", "error", err)
				e.newProcess.takes = false
			}
		}
		if time.Since(told) > tellEvery {
			told = time.Now()
			e.tellCounts()
		}
		select {
		case <-tick.C:
		case <-e.plane.Idle():
		case <-ctx.Done():
		}
	}
	cut := e.cutAll()
	e.close()
	e.tellCounts() // all of it: nothing is counted any more
	e.newProcess.wire.Close()
	return cut
}
