package engine

// The new process of a hand-over: what it gets from the old one, and when it takes over.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"weir/l4"
)

// Predecessor is the process that hands over to this one.
type Predecessor struct {
	wire    *l4.Wire
	hello   hello
	sockets map[[2]string][]int32 // by kind and name
	state   legacy
	gone    bool // it has ended before it committed: this one goes on with what it has
}

// Succeed meets the process at the other end of a wire, and takes what that has to give.
func Succeed(descriptor int, version string) (*Predecessor, error) {
	wire, err := l4.OpenWire(uintptr(descriptor))
	if err != nil {
		return nil, err
	}
	p := &Predecessor{wire: wire, sockets: map[[2]string][]int32{}}
	wire.Deadline(time.Now().Add(servePatience))
	if err := p.meet(version); err != nil {
		p.Close()
		return nil, fmt.Errorf("hand-over: %w", err)
	}
	return p, nil
}

func (p *Predecessor) meet(version string) error {
	if err := hear(p.wire, sayHello, &p.hello); err != nil {
		return err
	}
	if err := send(p.wire, sayHello, hello{Format: handOverFormat, Sessions: l4.SessionFormat, PID: os.Getpid(), Version: version}); err != nil {
		return err
	}
	if p.hello.Format != handOverFormat {
		return fmt.Errorf("the old process's is of format %d, this one's of %d", p.hello.Format, handOverFormat)
	}
	for {
		f, err := p.wire.Receive()
		if err != nil {
			return err
		}
		switch f.Kind {
		case saySockets:
			if err := p.take(&f); err != nil {
				return err
			}
		case sayState:
			f.Close()
			return json.Unmarshal(f.Body, &p.state)
		default:
			f.Close()
			return fmt.Errorf("%w: a message of kind %d", l4.ErrWire, f.Kind)
		}
	}
}

// take notes whose sockets have come.
func (p *Predecessor) take(f *l4.Frame) error {
	var names []socket
	if err := json.Unmarshal(f.Body, &names); err != nil {
		f.Close()
		return fmt.Errorf("%w: %w", l4.ErrWire, err)
	}
	for _, s := range names {
		if s.Descriptors < 0 || s.Descriptors > len(f.Descriptors) {
			f.Close()
			return fmt.Errorf("%w: %d descriptors for %s, %d there", l4.ErrWire, s.Descriptors, s.Name, len(f.Descriptors))
		}
		key := [2]string{s.Kind, s.Name}
		p.sockets[key] = append(p.sockets[key], f.Descriptors[:s.Descriptors]...)
		f.Descriptors = f.Descriptors[s.Descriptors:]
	}
	f.Close() // of nobody
	return nil
}

// PID is the old process's number.
func (p *Predecessor) PID() int { return p.hello.PID }

// claim gives the sockets of a name away.
func (p *Predecessor) claim(kind, name string) []int32 {
	key := [2]string{kind, name}
	fds := p.sockets[key]
	delete(p.sockets, key)
	return fds
}

// holds tells whether a listener's sockets have come and were not claimed.
func (p *Predecessor) holds(kind, name string) bool { return len(p.sockets[[2]string{kind, name}]) > 0 }

// holdsPort tells whether a listener's sockets that were not claimed have a port.
func (p *Predecessor) holdsPort(port uint16) bool {
	for key := range p.sockets {
		if key[0] == socketListener && strings.HasSuffix(key[1], fmt.Sprintf(":%d", port)) {
			return true
		}
	}
	return false
}

// Door is the socket of an address of the API, or nil. The caller closes it.
func (p *Predecessor) Door(address string) *os.File {
	fds := p.claim(socketAdmin, address)
	if len(fds) == 0 {
		return nil
	}
	return os.NewFile(uintptr(fds[0]), address)
}

// Fail tells the old process why this one does not take over.
func (p *Predecessor) Fail(why error) {
	send(p.wire, sayFailed, failure{why.Error()}) // if it hears nothing, it knows that much
	p.Close()
}

// Close closes what nobody has claimed.
func (p *Predecessor) Close() {
	p.wire.Close()
	p.drop()
}

func (p *Predecessor) drop() {
	for _, fds := range p.sockets {
		f := l4.Frame{Descriptors: fds}
		f.Close()
	}
	clear(p.sockets)
}

// ErrCalledOff is returned by TakeOver when the old process goes on after all.
var ErrCalledOff = errors.New("the old process has called the upgrade off")

// TakeOver tells the old process that this one is ready, and returns when this one serves. It is called once, after a
// Start with a Predecessor.
func (e *Engine) TakeOver() error {
	p, ch := e.before, e.waiting
	e.waiting = nil
	err := p.await(ch)
	if err != nil {
		for _, ln := range ch.listeners {
			ln.Discard()
		}
		p.Close()
		e.close()
		return err
	}
	e.mu.Lock()
	e.inherit(p.state)
	e.commit(ch)
	e.mu.Unlock()
	p.drop() // of listeners that have left the configuration: the old process sees to those who knock there
	e.begin()
	if !p.gone && send(p.wire, sayServing, nil) != nil {
		p.gone = true
	}
	e.work.Go(func() { e.adopt(p) })
	return nil
}

// await gets ready's answer. When the old process ends instead of answering, this one has to go on alone.
func (p *Predecessor) await(ch *change) error {
	ready := readiness{Listeners: []string{}}
	for id, ln := range ch.listeners {
		if ln.Inherited() {
			ready.Listeners = append(ready.Listeners, id)
		}
	}
	p.wire.Deadline(time.Time{})
	var final legacy
	err := send(p.wire, sayReady, ready)
	if err == nil {
		err = hear(p.wire, sayCommit, &final)
	}
	switch {
	case err == nil:
		p.state = final
	case errors.Is(err, l4.ErrWire):
		return err
	case errors.Is(err, io.EOF), isBroken(err):
		p.gone = true
	default:
		return err
	}
	return nil
}

// adopt takes what the old process still has to give, until that has ended.
func (e *Engine) adopt(p *Predecessor) {
	defer p.Close()
	stop := context.AfterFunc(e.ctx, func() { p.wire.Deadline(time.Unix(1, 0)) })
	defer stop()
	for {
		f, err := p.wire.Receive()
		if err != nil {
			return
		}
		f.Close()
	}
}
