package handover

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
)

// OldProcess is the old process of an upgrade, as the new process sees it. Its methods are called in the order of the
// protocol, by one goroutine at a time.
type OldProcess struct {
	conn         *Conn
	peer         Hello
	mu           sync.Mutex            // guards sockets: a reload takes them while others are received or closed
	sockets      map[[2]string][]int32 // by kind and name; those that were not taken yet
	keepFile     map[string]bool       // by name of a listener
	state        json.RawMessage       // the last one received
	adminSockets []string              // addresses of the API whose sockets were taken
	exited       bool
}

// Accept receives the listen sockets and the state from the old process, whose end of the connection is at descriptor.
// If the old process ends meanwhile, Accept returns what was received so far, and Exited reports true. self has the batch
// formats and the version of this process.
func Accept(descriptor int, self Hello) (*OldProcess, error) {
	conn, err := OpenConn(uintptr(descriptor))
	if err != nil {
		return nil, err
	}
	p := &OldProcess{conn: conn, sockets: map[[2]string][]int32{}, keepFile: map[string]bool{}}
	parent := os.Getppid()
	conn.SetDeadline(time.Now().Add(replyTimeout))
	self.Format, self.PID = Format, os.Getpid()
	switch err := p.accept(self); {
	case Closed(err):
		p.exited = true
		waitForExit(parent)
	case err != nil:
		p.Close()
		return nil, fmt.Errorf("handover: %w", err)
	}
	return p, nil
}

// waitForExit waits, for at most a second, until a parent that has closed its connection has ended and with it closed its
// listen sockets.
func waitForExit(parent int) {
	for end := time.Now().Add(exitTimeout); os.Getppid() == parent && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
}

func (p *OldProcess) accept(self Hello) error {
	if err := p.conn.expect(kindHello, &p.peer); err != nil {
		return err
	}
	if err := p.conn.sendJSON(kindHello, self); err != nil {
		return err
	}
	if p.peer.Format != Format {
		return fmt.Errorf("format %d of the old process, want format %d", p.peer.Format, Format)
	}
	for {
		m, err := p.conn.Receive()
		if err != nil {
			return err
		}
		switch m.Kind {
		case kindSockets:
			if err := p.addSockets(&m); err != nil {
				return err
			}
		case kindState:
			m.Close()
			p.state = m.Body
			return nil
		default:
			m.Close()
			return fmt.Errorf("%w: kind %d", ErrMalformed, m.Kind)
		}
	}
}

// addSockets assigns the descriptors of a sockets message to their owners and closes those without one.
func (p *OldProcess) addSockets(m *Message) error {
	defer m.Close()
	var entries []socketEntry
	if err := json.Unmarshal(m.Body, &entries); err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	for _, s := range entries {
		if s.Descriptors < 0 || s.Descriptors > len(m.Descriptors) {
			return fmt.Errorf("%w: %s: want %d descriptors, got %d", ErrMalformed, s.Name, s.Descriptors, len(m.Descriptors))
		}
		key := [2]string{s.Kind, s.Name}
		p.keepFile[s.Name] = p.keepFile[s.Name] || s.KeepFile
		p.sockets[key] = append(p.sockets[key], m.Descriptors[:s.Descriptors]...)
		m.Descriptors = m.Descriptors[s.Descriptors:]
	}
	return nil
}

// FlowFormat returns the format of the old process's flows.
func (p *OldProcess) FlowFormat() int { return p.peer.Flows }

// State returns the last state received, or nil if the old process has ended before it sent one.
func (p *OldProcess) State() json.RawMessage { return p.state }

// Exited reports whether the old process has ended before it committed. The new process then continues alone.
func (p *OldProcess) Exited() bool { return p.exited }

// Listener returns the sockets of a listener, which become the caller's, and whether the file of its unix socket must be
// kept. It returns no sockets if there are none or they were taken before.
func (p *OldProcess) Listener(id string) (fds []int32, keepFile bool) {
	return p.take(ListenerSocket, id), p.keepFile[id]
}

func (p *OldProcess) take(kind, name string) []int32 {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := [2]string{kind, name}
	fds := p.sockets[key]
	delete(p.sockets, key)
	return fds
}

// Descriptors returns the descriptors of a kind by name, one for each, which become the caller's.
func (p *OldProcess) Descriptors(kind string) map[string]int32 {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := map[string]int32{}
	for key, fds := range p.sockets {
		if key[0] == kind && len(fds) == 1 {
			all[key[1]] = fds[0]
			delete(p.sockets, key)
		}
	}
	return all
}

// HasPort reports whether sockets of a listener with this port were received and not taken.
func (p *OldProcess) HasPort(port uint16) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for key := range p.sockets {
		if key[0] == ListenerSocket && strings.HasSuffix(key[1], fmt.Sprintf(":%d", port)) {
			return true
		}
	}
	return false
}

// AdminSocket returns the socket of an address of the API, which the caller closes, or nil if there is none.
func (p *OldProcess) AdminSocket(address string) *os.File {
	fds := p.take(AdminSocket, address)
	if len(fds) == 0 {
		return nil
	}
	p.adminSockets = append(p.adminSockets, address)
	return os.NewFile(uintptr(fds[0]), address)
}

// Ready reports the listeners that this process takes over, and waits for the commit, after which State returns the final
// state. If the old process ends instead, Exited reports true.
func (p *OldProcess) Ready(listeners []string) error {
	p.conn.SetDeadline(time.Time{})
	err := p.conn.sendJSON(kindReady, Ready{Listeners: listeners, Admin: p.adminSockets})
	var final json.RawMessage
	if err == nil {
		err = p.conn.expect(kindCommit, &final)
	}
	switch {
	case Closed(err):
		p.exited = true
		return nil
	case err != nil:
		return err
	}
	p.state = final
	return nil
}

// Serving reports that this process will accept clients from the first message on that follows, and closes the sockets that were not taken: their listeners have
// left the configuration, and the old process serves the clients in their queues.
func (p *OldProcess) Serving() {
	p.closeSockets()
	if !p.exited && p.conn.sendJSON(kindServing, nil) != nil {
		p.exited = true
	}
}

// Received is a batch in the new process, until Start or Discard is called.
type Received interface {
	Sessions() int
	Start()
	Discard()
}

// Receiver handles what the old process sends after the commit.
type Receiver struct {
	// Released is called at every message: the old process cannot resume accepting any more.
	Released func()
	// Sessions and Flows unpack a batch. The descriptors become those of the result or, with an error, stay the caller's.
	Sessions, Flows func(body []byte, descriptors []int32) (Received, error)
	FlowsDone       func() // all flows have arrived
	Counters        func(body []byte) error
}

// Receive handles messages until the old process has ended, when it returns nil. After another error the sessions that
// were not received stay in the old process.
func (p *OldProcess) Receive(r Receiver) error {
	for {
		m, err := p.conn.Receive()
		if Closed(err) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("invalid message from old process: %w", err)
		}
		r.Released()
		switch m.Kind {
		case kindSessions:
			err = p.receiveBatch(&m, r.Sessions)
		case kindFlows:
			err = p.receiveBatch(&m, r.Flows)
		case kindFlowsDone:
			r.FlowsDone()
		case kindCounters:
			err = r.Counters(m.Body)
		} // ignore kinds of later versions
		m.Close()
		if err != nil {
			return err
		}
	}
}

// receiveBatch acknowledges a batch and starts it once the old process has given it up.
func (p *OldProcess) receiveBatch(m *Message, unpack func([]byte, []int32) (Received, error)) error {
	b, err := unpack(m.Body, m.Descriptors)
	if err != nil {
		p.conn.sendJSON(kindFailed, failure{err.Error()})
		return err
	}
	m.Descriptors = nil
	p.conn.sendJSON(kindReceived, b.Sessions()) // an error shows in the reply
	reply, err := p.conn.Receive()
	switch {
	case err == nil && reply.Kind == kindConfirm, Closed(err):
		b.Start()
		return nil
	case err == nil && reply.Kind == kindReturned:
		b.Discard()
		return nil
	case err == nil:
		reply.Close()
		err = fmt.Errorf("%w: kind %d", ErrMalformed, reply.Kind)
	}
	b.Discard()
	return err
}

// Interrupt makes Receive return. It may be called by any goroutine.
func (p *OldProcess) Interrupt() { p.conn.Interrupt() }

// Fail tells the old process why this one does not take over, and closes the connection.
func (p *OldProcess) Fail(reason error) {
	p.conn.sendJSON(kindFailed, failure{reason.Error()}) // without it the old process sees only the exit status
	p.Close()
}

// Close closes the connection and the sockets that were not taken.
func (p *OldProcess) Close() {
	p.conn.Close()
	p.closeSockets()
}

func (p *OldProcess) closeSockets() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, fds := range p.sockets {
		closeAll(fds)
	}
	clear(p.sockets)
}
