package engine

// The new process of a hand-over: what it gets from the old one, and when it takes over.

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"weir/balance"
	"weir/internal/state"
	"weir/l4"
)

// Predecessor is the process that hands over to this one.
type Predecessor struct {
	wire    *l4.Wire
	hello   hello
	sockets map[[2]string][]int32 // by kind and name
	lent    map[string]bool       // listeners whose files are not to be removed
	state   *legacy               // nil = it has told nothing
	memory  state.Snapshot        // of the state
	doors   []string              // addresses of the API whose sockets were claimed
	gone    bool                  // it has ended before it committed: this one goes on with what it has
}

// Succeed meets the process at the other end of a wire, and takes what that has to give.
func Succeed(descriptor int, version string) (*Predecessor, error) {
	wire, err := l4.OpenWire(uintptr(descriptor))
	if err != nil {
		return nil, err
	}
	p := &Predecessor{wire: wire, sockets: map[[2]string][]int32{}, lent: map[string]bool{}}
	parent := os.Getppid()
	wire.Deadline(time.Now().Add(servePatience))
	switch err := p.meet(version); {
	case l4.Gone(err):
		p.gone = true
		outlive(parent)
	case err != nil:
		p.Close()
		return nil, fmt.Errorf("hand-over: %w", err)
	}
	return p, nil
}

// outlive waits until a parent that is about to end has ended, and has left its sockets.
func outlive(parent int) {
	for end := time.Now().Add(lastBreath); os.Getppid() == parent && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
}

func (p *Predecessor) meet(version string) error {
	if err := hear(p.wire, sayHello, &p.hello); err != nil {
		return err
	}
	if err := send(p.wire, sayHello, hello{Format: handOverFormat, Sessions: l4.SessionFormat, Flows: l4.FlowFormat, PID: os.Getpid(), Version: version}); err != nil {
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
			return p.learn(f.Body)
		default:
			f.Close()
			return fmt.Errorf("%w: a message of kind %d", l4.ErrWire, f.Kind)
		}
	}
}

// learn notes what the old process knows.
func (p *Predecessor) learn(text []byte) error {
	var known legacy
	err := json.Unmarshal(text, &known)
	if err == nil {
		p.memory, err = state.Decode(known.Memory)
	}
	if err != nil {
		return fmt.Errorf("state: %w", err)
	}
	p.state = &known
	return nil
}

// merge notes whose sockets have come.
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
		p.lent[s.Name] = p.lent[s.Name] || s.Lent
		p.sockets[key] = append(p.sockets[key], f.Descriptors[:s.Descriptors]...)
		f.Descriptors = f.Descriptors[s.Descriptors:]
	}
	f.Close() // of nobody
	return nil
}

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
	p.doors = append(p.doors, address)
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

// TakeOver tells the old process that this one is ready, and returns when this one serves. It is called once, after a
// Start with a Predecessor.
func (e *Engine) TakeOver() error {
	p, r := e.oldProcess, e.pending
	e.pending = nil
	err := p.await(r.opened)
	if err != nil {
		r.closeOpened()
		p.Close()
		e.close()
		return err
	}
	e.mu.Lock()
	e.inherit(r)
	if !p.gone {
		e.plane.PauseReceive()
	}
	r.commit()
	if p.state != nil {
		e.published.eventLog.goOn(p.state.Told)
		e.countFrom(&p.state.Counts, e.listeners, e.running.Load())
		e.published.mu.Lock()
		e.published.config.Reloads, e.published.config.Failed = p.state.Counts.Reloads, p.state.Counts.Failed
		e.published.mu.Unlock()
	}
	if err := e.routes.Inherit(); err != nil {
		e.log.Warn("hand-over: replies to clients' own addresses may not come back", "error", err)
	}
	e.mu.Unlock()
	p.drop() // of listeners that have left the configuration: the old process sees to those who knock there
	e.startBackground()
	if !p.gone && send(p.wire, sayServing, nil) != nil {
		p.gone = true
	}
	e.work.Go(func() { e.adopt(p) })
	return nil
}

// await gets ready's answer. When the old process ends instead of answering, this one has to go on alone.
func (p *Predecessor) await(opened map[string]*l4.Listener) error {
	ready := readiness{Listeners: []string{}, Doors: p.doors}
	for id, ln := range opened {
		if ln.Inherited() {
			ready.Listeners = append(ready.Listeners, id)
		}
	}
	p.wire.Deadline(time.Time{})
	err := send(p.wire, sayReady, ready)
	var final json.RawMessage
	if err == nil {
		err = hear(p.wire, sayCommit, &final)
	}
	if l4.Gone(err) {
		p.gone = true
		return nil
	}
	if err != nil {
		return err
	}
	return p.learn(final)
}

// adopt takes what the old process still has to give, until that has ended.
func (e *Engine) adopt(p *Predecessor) {
	defer p.Close()
	defer e.plane.ResumeReceive() // as many as there are
	stop := context.AfterFunc(e.ctx, func() { p.wire.Deadline(time.Unix(1, 0)) })
	defer stop()
	strays := &strays{engine: e, clusters: map[[2]string]*balance.Cluster{}, listeners: map[string]*l4.Listener{}}
	for {
		f, err := p.wire.Receive()
		if err != nil {
			if !l4.Gone(err) && e.ctx.Err() == nil {
				e.log.Warn("hand-over: the old process cannot be understood", "error", err)
			}
			return
		}
		switch f.Kind {
		case saySessions:
			err = e.adoptSessions(p, &f, func() (adoption, error) { return e.plane.ReceiveSessions(f.Body, f.Descriptors, strays.home) })
		case sayFlows:
			err = e.adoptSessions(p, &f, func() (adoption, error) { return e.plane.ReceiveFlows(f.Body, f.Descriptors, e.homeOfFlows) })
		case sayNoMoreFlows:
			e.plane.ResumeReceive()
		case sayCounts:
			var c counts
			if err = json.Unmarshal(f.Body, &c); err == nil {
				e.countFrom(&c, *e.published.listeners.Load(), e.running.Load())
			}
		default: // of a later version; this one does without
		}
		f.Close()
		if err != nil {
			e.log.Warn("hand-over: what is left stays in the old process", "error", err)
			return
		}
	}
}

// adoption is a parcel that has arrived.
type adoption interface {
	Sessions() int
	Start()
	Discard()
}

// adoptSessions goes on with sessions, or flows, once the old process has let go of them.
func (e *Engine) adoptSessions(p *Predecessor, f *l4.Frame, unpack func() (adoption, error)) error {
	e.mu.Lock() // so that no reload comes between finding a place and taking it
	a, err := unpack()
	e.mu.Unlock()
	if err != nil {
		send(p.wire, sayFailed, failure{err.Error()})
		return err
	}
	f.Descriptors = nil
	send(p.wire, sayTaken, a.Sessions()) // whether it has heard, its answer tells
	answer, err := p.wire.Receive()
	switch {
	case err == nil && answer.Kind == sayYours, l4.Gone(err):
		a.Start()
		return nil
	case err == nil && answer.Kind == sayReturned:
		a.Discard()
		return nil
	case err == nil:
		answer.Close()
		err = fmt.Errorf("%w: a message of kind %d", l4.ErrWire, answer.Kind)
	}
	a.Discard()
	return err
}

// homeOfFlows is where the flows of a place belong: nowhere, if the configuration does not have it. mu is held.
func (e *Engine) homeOfFlows(at l4.Binding) l4.LocalBinding {
	ln, c := e.listeners["udp "+at.Address], e.running.Load().clusters[at.Cluster]
	if ln == nil || c == nil || ln.Settings().ClusterName != at.Cluster {
		return l4.LocalBinding{}
	}
	return l4.LocalBinding{Listener: ln, Set: ln.Settings(), Cluster: c, Server: at.Server, Level: ln.Settings().LevelKey(at.Level)}
}

// strays are the places of sessions that the configuration of this process does not have: servers and listeners that have
// left. Their sessions go on until the drain deadline.
type strays struct {
	engine    *Engine
	clusters  map[[2]string]*balance.Cluster // of one server each, by names of cluster and server
	listeners map[string]*l4.Listener        // by address
}

// home is where the sessions of a place belong. mu is held.
func (s *strays) home(at l4.Binding) l4.LocalBinding {
	e := s.engine
	running := e.running.Load()
	h := l4.LocalBinding{Listener: e.listeners["tcp "+at.Address], Cluster: running.clusters[at.Cluster], Server: at.Server}
	if h.Listener == nil {
		h.Listener = s.listener(at.Address)
		h.Set = &l4.Settings{Name: at.Listener, ClusterName: at.Cluster}
	} else {
		h.Set = h.Listener.Settings()
	}
	if h.Cluster == nil || h.Cluster.Server(at.Server) == nil || h.Set.ClusterName != at.Cluster {
		if h.Cluster == nil || h.Cluster.Server(at.Server) == nil {
			h.Cluster = s.cluster(at.Cluster, at.Server)
		}
		if h.Set.ClusterName != at.Cluster { // the listener leads elsewhere by now
			set := *h.Set
			set.ClusterName, set.LevelNames = at.Cluster, nil
			h.Set = &set
		}
	}
	h.Level = h.Set.LevelKey(at.Level)
	return h
}

func (s *strays) listener(address string) *l4.Listener {
	ln := s.listeners[address]
	if ln == nil {
		ln = s.engine.plane.DetachedListener(address)
		s.listeners[address] = ln
		s.engine.drains.start(retired{listeners: []*l4.Listener{ln}, awaited: true, timeout: s.engine.running.Load().cfg.Runtime.DrainTimeout})
	}
	return ln
}

func (s *strays) cluster(cluster, server string) *balance.Cluster {
	key := [2]string{cluster, server}
	c := s.clusters[key]
	if c == nil {
		c = balance.New(balance.Spec{Name: cluster, Levels: []balance.LevelSpec{{Servers: []balance.ServerSpec{{Name: server, Weight: 1}}}}}, 0, nil)
		s.clusters[key] = c
		gone := map[*balance.Server]bool{c.Server(server): true}
		s.engine.drains.start(retired{servers: gone, awaited: true, timeout: s.engine.running.Load().cfg.Runtime.DrainTimeout})
	}
	return c
}
