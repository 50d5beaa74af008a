package engine

// The new process of an upgrade: what it receives from the old one, and when it starts to serve.

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"time"

	"weir/balance"
	"weir/internal/handover"
	"weir/internal/state"
	"weir/internal/status"
	"weir/l4"
)

// OldProcess is the process that this one takes over from.
type OldProcess = handover.OldProcess

// AcceptUpgrade receives sockets and state from the old process of an upgrade, to be passed to Start. descriptor is this
// process's end of the connection.
func AcceptUpgrade(descriptor int, version string) (*OldProcess, error) {
	return handover.Accept(descriptor, hello(version))
}

// oldProcess is an OldProcess with its decoded state.
type oldProcess struct {
	*OldProcess
	state *transferredState // the last one received; nil = none
	saved state.Snapshot    // of state
	done  chan struct{}     // closed when it has transferred everything, or has ended
}

// decodeOldProcess returns p with its state decoded, or nil if there is no old process.
func decodeOldProcess(p *OldProcess) (*oldProcess, error) {
	if p == nil {
		return nil, nil
	}
	old := &oldProcess{OldProcess: p, done: make(chan struct{})}
	return old, old.decodeState()
}

// decodeState decodes the last state received, if there is one.
func (p *oldProcess) decodeState() error {
	text := p.State()
	if text == nil {
		return nil
	}
	var s transferredState
	err := json.Unmarshal(text, &s)
	if err == nil {
		p.saved, err = state.Decode(s.Saved)
	}
	if err != nil {
		return fmt.Errorf("handover: state: %w", err)
	}
	p.state = &s
	return nil
}

// TakeOver tells the old process that this one is ready, and returns when this one serves. It is called once, after Start
// with an OldProcess. After an error the engine is closed.
func (e *Engine) TakeOver() error {
	p, r := e.oldProcess, e.pending
	e.pending = nil
	departed := newDepartedObjects(e)
	departed.inheritFlowListeners()
	inherited := slices.Collect(maps.Keys(departed.flows))
	for id, ln := range r.opened {
		if ln.Inherited() {
			inherited = append(inherited, id)
		}
	}
	err := p.Ready(inherited)
	if err == nil {
		err = p.decodeState()
	}
	if err != nil {
		r.closeOpened()
		departed.discardFlowListeners()
		p.Close()
		e.close()
		return err
	}
	e.mu.Lock()
	e.restoreTransferred(r)
	if p.Exited() {
		departed.discardFlowListeners()
	} else {
		e.plane.PauseAccept() // the old process may still kill this one: no client may be in it
		e.plane.PauseReceive()
		departed.readDeadlines() // as they are now
	}
	if p.state != nil {
		e.await(&p.state.Counters, r.opened)
	}
	r.commit()
	departed.startFlowListeners()
	if p.state != nil {
		e.published.eventLog.restore(p.state.Events)
		e.countFrom(&p.state.Counters, e.listeners, e.running.Load())
		e.published.mu.Lock()
		e.published.config.Reloads, e.published.config.Failed = p.state.Counters.Reloads, p.state.Counters.Failed
		e.published.mu.Unlock()
	}
	e.published.eventLog.put(status.Event{
		Time: time.Now(), Event: "upgrade", Reason: fmt.Sprintf("process %d serves, version %s", os.Getpid(), e.published.version),
	})
	if err := e.routes.Inherit(); err != nil {
		e.log.Warn("upgrade: replies to client addresses may not be routed to this host", "error", err)
	}
	e.mu.Unlock()
	e.startBackground()
	p.Serving()
	released := make(chan struct{}) // closed when the old process has given up accepting, or has ended
	e.work.Go(func() { e.receiveHandover(departed, sync.OnceFunc(func() { close(released) })) })
	<-released
	e.plane.ResumeAccept()
	return nil
}

// restoreTransferred restores the state of the old process in clusters and checks that are about to start. mu is held.
func (e *Engine) restoreTransferred(r *reload) {
	p := e.oldProcess
	if p.state != nil {
		e.savedState = &p.saved
	}
	r.restoreState()
	if p.state != nil {
		for name, c := range r.created {
			c.RestoreHandover(p.state.Balance[name], e.plane.Now())
			c.ContinueQueue(p.state.QueueNumbers[name])
			if h := p.state.Rebalances[name]; h != nil {
				c.ResumeRebalance(h, e.plane.Now())
				e.closings.closeSurplus(name, c)
			}
		}
		e.closings.resume(p.state.Closings, r.next)
	}
}

// receiveHandover receives flows, sessions and counters until the old process has ended. It calls release after the first message,
// or at the end.
func (e *Engine) receiveHandover(departed *departedObjects, release func()) {
	p := e.oldProcess
	done := sync.OnceFunc(func() { close(p.done) })
	defer done()
	defer p.Close()
	defer release()
	defer e.stopAwaiting()
	flowsDone := sync.OnceFunc(func() {
		e.plane.ResumeReceive()
		departed.releaseFlowListeners()
	})
	defer flowsDone() // also if not all flows have arrived
	defer context.AfterFunc(e.ctx, p.Interrupt)()
	err := p.Receive(handover.Receiver{
		Released: release,
		Sessions: func(body []byte, descriptors []int32) (handover.Received, error) {
			e.mu.Lock() // no reload between finding and using a binding
			defer e.mu.Unlock()
			received, err := e.plane.ReceiveSessions(body, descriptors, departed.bindSession)
			for cluster := range e.topologies.all() { // the primary may have changed while they were on their way
				e.clustersToCut.add(cluster)
			}
			return received, err
		},
		Flows: func(body []byte, descriptors []int32) (handover.Received, error) {
			e.mu.Lock()
			defer e.mu.Unlock()
			return e.plane.ReceiveFlows(body, descriptors, departed.bindFlow)
		},
		FlowsDone: flowsDone,
		Counters: func(body []byte) error {
			defer done() // they come last
			var c counts
			if err := json.Unmarshal(body, &c); err != nil {
				return err
			}
			e.countFrom(&c, *e.published.listeners.Load(), e.running.Load())
			return nil
		},
	})
	if err != nil && e.ctx.Err() == nil {
		e.log.Warn("upgrade: remaining sessions stay in the old process", "error", err)
	}
}

// bindSession finds the objects of a session, or makes those that the configuration lacks. mu is held.
func (d *departedObjects) bindSession(at l4.Binding) l4.LocalBinding {
	ln := d.engine.listeners["tcp "+at.Address]
	if ln != nil {
		set := ln.Settings()
		if chosen := set.Chosen(at.Route, at.Cluster); chosen != nil && !at.Waiting { // sessions that wait are routed again
			set = chosen
		}
		return d.bind(at, ln, set)
	}
	ln = d.listener(at.Address)
	return d.bind(at, ln, &l4.Settings{Name: at.Listener, ClusterName: at.Cluster, Admission: l4.Admission{State: d.admission("tcp", at)}})
}

// bindFlow is bindSession for a flow. It returns nothing if its listener was not taken over. mu is held.
func (d *departedObjects) bindFlow(at l4.Binding) l4.LocalBinding {
	id := "udp " + at.Address
	ln := d.engine.listeners[id]
	if ln == nil {
		ln = d.flows[id]
	}
	if ln == nil {
		return l4.LocalBinding{}
	}
	set := ln.Settings()
	if chosen := set.Chosen(at.Route, at.Cluster); chosen != nil {
		set = chosen
	}
	return d.bind(at, ln, set)
}

func (d *departedObjects) bind(at l4.Binding, ln *l4.Listener, set *l4.Settings) l4.LocalBinding {
	b := l4.LocalBinding{Listener: ln, Set: set, Cluster: d.engine.running.Load().clusters[at.Cluster], Server: at.Server, At: at.At}
	if at.Waiting {
		return d.bindWaiting(b, at)
	}
	if b.Cluster == nil || b.Cluster.Server(at.Server) == nil || b.Cluster.Server(at.Server).Address() != at.At {
		b.Cluster = d.cluster(b.Cluster, at)
	}
	if b.Set.Cluster != b.Cluster { // the listener has left, or has another cluster now
		set := *b.Set
		set.Levels = nil
		if running := d.engine.running.Load(); running.cfg.Cluster(at.Cluster) != nil {
			d.engine.setCluster(&set, running, at.Cluster, nil)
		} else {
			set.MaxAge, set.Closer, set.LevelNames = 0, nil, nil
		}
		set.Cluster, set.ClusterName = b.Cluster, at.Cluster
		b.Set = &set
	}
	b.Level = b.Set.LevelKey(at.Level)
	return b
}

// bindWaiting finds the cluster of a session that waits: that of the listener, if it has one.
func (d *departedObjects) bindWaiting(b l4.LocalBinding, at l4.Binding) l4.LocalBinding {
	switch {
	case b.Set.Cluster != nil:
		b.Cluster = b.Set.Cluster
	case b.Cluster == nil:
		b.Cluster = balance.New(balance.Spec{Name: at.Cluster}, rand.Uint64(), d.engine.handleEvent)
	}
	return b
}

func (d *departedObjects) listener(address string) *l4.Listener {
	ln := d.listeners[address]
	if ln == nil || d.engine.retiredListeners["tcp "+address] != ln { // it has returned and left once more
		ln = d.engine.plane.DetachedListener(address)
		d.listeners[address] = ln
		d.engine.retiredListeners["tcp "+address] = ln
		d.retire(retired{listeners: []*l4.Listener{ln}}, departure{Listener: address})
	}
	return ln
}

// admission returns the state that counts the sessions of a listener that has left. The listener counts on with it if it
// returns. All its addresses share one.
func (d *departedObjects) admission(protocol string, at l4.Binding) *l4.AdmissionState {
	retired, id := d.engine.retiredAdmissions, protocol+" "+at.Address
	state := retired[id]
	if state == nil {
		state = d.admissions[at.Listener]
	}
	if state == nil {
		state = l4.NewAdmissionState(false, 0)
	}
	d.admissions[at.Listener], retired[id] = state, state
	return state
}

// cluster returns the running cluster c, or one that has left if c is nil, with the server of a session. The server, or its
// address, has left and takes the session back if it returns.
func (d *departedObjects) cluster(c *balance.Cluster, at l4.Binding) *balance.Cluster {
	if c == nil {
		c = d.retiredCluster(at.Cluster)
	}
	d.expect(c, &at)
	return c
}
