package handover

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"sync"
	"syscall" // signals
	"time"

	"weir/internal/reaper"
)

// NewProcess is the new process of an upgrade, as the old process sees it. Its methods are called in the order of the
// protocol, by one goroutine at a time.
type NewProcess struct {
	cmd    *exec.Cmd
	conn   *Conn
	self   Hello
	peer   Hello
	exited chan struct{} // closed when the process has ended

	mu   sync.Mutex
	left bool // another process waits for it
	code int  // exit code, or -1; valid when exited is closed
}

// Socket is an owner of listen sockets.
type Socket struct {
	Kind, Name  string
	Descriptors []int32 // stay the caller's
	KeepFile    bool
}

// Batch is sessions or flows that are frozen in the old process until Confirm or Return is called.
type Batch struct {
	Body        []byte
	Descriptors []int32
	Sessions    int
	Confirm     func() // the new process owns the sessions
	Return      func() // the old process continues them
}

// heldSignals ask for another log file and for an upgrade. Their default action ends a process that has just begun.
var heldSignals = []syscall.Signal{syscall.SIGUSR1, syscall.SIGUSR2}

// Start starts the new process. command returns its command, which finds its end of the connection at descriptor and its
// own ExtraFiles at the next ones. self has the batch formats and the version of this process. Signals in heldSignals wait until the new
// process handles them. during calls the function that starts it.
func Start(command func(descriptor int) *exec.Cmd, self Hello, during func(start func() error) error) (*NewProcess, error) {
	conn, theirs, err := NewConn()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	const firstExtraFile = 3
	cmd := command(firstExtraFile)
	cmd.ExtraFiles = slices.Concat([]*os.File{theirs}, cmd.ExtraFiles)
	if err := during(func() error { return reaper.StartHolding(cmd, heldSignals...) }); err != nil {
		conn.Close()
		return nil, fmt.Errorf("cannot start the new process: %w", err)
	}
	self.Format, self.PID = Format, os.Getpid()
	p := &NewProcess{cmd: cmd, conn: conn, self: self, exited: make(chan struct{})}
	go p.wait() // ends with the new process, or with this one
	return p, nil
}

// wait waits for the process, unless it is left to another process.
func (p *NewProcess) wait() {
	defer close(p.exited)
	code, exited := reaper.Await(p.cmd.Process.Pid)
	if !exited {
		code = -1
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.code = code; !p.left {
		reaper.Wait(p.cmd)
	}
}

// Leave leaves the process to be waited for by the parent that it gets when this process ends. It returns false if the
// process has ended already.
func (p *NewProcess) Leave() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.left = p.cmd.ProcessState == nil
	return p.left
}

// PID returns the process ID of the new process.
func (p *NewProcess) PID() int { return p.cmd.Process.Pid }

// Version returns the version of the new process, once Prepare has succeeded.
func (p *NewProcess) Version() string { return p.peer.Version }

// Prepare sends the listen sockets and the state, and waits until the new process is ready. state is called after the
// sockets were sent.
func (p *NewProcess) Prepare(sockets []Socket, state func() (any, error)) (Ready, error) {
	var ready Ready
	p.conn.SetDeadline(time.Now().Add(helloTimeout))
	if err := p.conn.sendJSON(kindHello, p.self); err != nil {
		return ready, err
	}
	if err := p.conn.expect(kindHello, &p.peer); err != nil {
		return ready, err
	}
	if p.peer.Format != Format {
		return ready, fmt.Errorf("handover format %d, want format %d", p.peer.Format, Format)
	}
	p.conn.SetDeadline(time.Now().Add(readyTimeout))
	if err := p.sendSockets(sockets); err != nil {
		return ready, err
	}
	if err := p.sendState(kindState, state); err != nil {
		return ready, err
	}
	return ready, p.conn.expect(kindReady, &ready)
}

// sendSockets sends sockets in as few messages as MaxDescriptors allows.
func (p *NewProcess) sendSockets(sockets []Socket) error {
	var entries []socketEntry
	var fds []int32
	flush := func() error {
		err := p.conn.sendJSON(kindSockets, entries, fds...)
		entries, fds = nil, nil
		return err
	}
	for _, s := range sockets {
		for left := s.Descriptors; len(left) > 0; {
			n := min(len(left), MaxDescriptors-len(fds))
			if n == 0 {
				if err := flush(); err != nil {
					return err
				}
				continue
			}
			entries = append(entries, socketEntry{s.Kind, s.Name, n, s.KeepFile})
			fds = append(fds, left[:n]...)
			left = left[n:]
		}
	}
	return flush()
}

func (p *NewProcess) sendState(kind uint8, state func() (any, error)) error {
	s, err := state()
	if err != nil {
		return err
	}
	return p.conn.sendJSON(kind, s)
}

// Commit sends the final state and waits until the new process serves. The caller has stopped accepting.
func (p *NewProcess) Commit(state func() (any, error)) error {
	p.conn.SetDeadline(time.Now().Add(replyTimeout))
	if err := p.sendState(kindCommit, state); err != nil {
		return err
	}
	return p.conn.expect(kindServing, nil)
}

// MoveSessions moves session batches until next returns nil, and returns how many sessions were moved. After an error the
// remaining ones continue in this process.
func (p *NewProcess) MoveSessions(next func() *Batch) (moved int, err error) {
	if p.peer.Sessions != p.self.Sessions {
		return 0, fmt.Errorf("session format %d of the new process, want format %d", p.peer.Sessions, p.self.Sessions)
	}
	return p.moveBatches(kindSessions, next)
}

// MoveFlows moves flow batches like MoveSessions, none if the formats differ, and then tells the new process to read
// datagrams.
func (p *NewProcess) MoveFlows(next func() *Batch) (moved int, err error) {
	if p.peer.Flows == p.self.Flows {
		moved, err = p.moveBatches(kindFlows, next)
	}
	if sendErr := p.conn.sendJSON(kindFlowsDone, nil); err == nil {
		err = sendErr
	}
	return moved, err
}

func (p *NewProcess) moveBatches(kind uint8, next func() *Batch) (moved int, err error) {
	for {
		b := next()
		if b == nil {
			return moved, nil
		}
		p.conn.SetDeadline(time.Now().Add(replyTimeout))
		err := p.conn.Send(kind, b.Body, b.Descriptors)
		if err == nil {
			err = p.conn.expect(kindReceived, nil)
		}
		if err == nil {
			err = p.conn.sendJSON(kindConfirm, nil) // if it is not delivered, the batch is still this process's
		}
		if err != nil {
			b.Return()
			p.conn.sendJSON(kindReturned, nil)
			return moved, err
		}
		b.Confirm()
		moved += b.Sessions
	}
}

// SendCounters sends what this process has counted.
func (p *NewProcess) SendCounters(counters any) error {
	p.conn.SetDeadline(time.Now().Add(replyTimeout))
	return p.conn.sendJSON(kindCounters, counters)
}

// Kill kills the new process and waits until it has ended. It may be called by any goroutine.
func (p *NewProcess) Kill() {
	p.cmd.Process.Kill()
	<-p.exited
}

// Ended returns a channel that is closed when the new process has ended.
func (p *NewProcess) Ended() <-chan struct{} { return p.exited }

// ExitCode returns the exit code of a process that has ended, or -1 if a signal has ended it.
func (p *NewProcess) ExitCode() int { return p.code }

// Exited waits for at most a second and reports whether the new process has ended.
func (p *NewProcess) Exited() bool {
	select {
	case <-p.exited:
		return true
	case <-time.After(exitTimeout):
		return false
	}
}

// State returns the exit state of a process that has ended and was not left.
func (p *NewProcess) State() *os.ProcessState { return p.cmd.ProcessState }

// Explain returns err with what happened to the process, which has ended.
func (p *NewProcess) Explain(err error) error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errors.New("the new process was not ready in time and was killed")
	case Closed(err):
		return fmt.Errorf("the new process ended: %s", p.State())
	}
	return fmt.Errorf("the new process: %w", err)
}

// Close closes the connection.
func (p *NewProcess) Close() { p.conn.Close() }
