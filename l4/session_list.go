package l4

// What observers see of sessions: copies, made by the loop that owns the session.

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"weir/balance"
)

// SessionIdentity identifies a session to observers.
type SessionIdentity struct {
	ID       uint64
	Listener *Listener
	Server   *balance.Server   // nil while none is picked
	Address  balance.AddressID // that the server had when it was picked
	Level    int               // key of the level that the server was picked from
	Levels   []int             // keys of the levels that the session may use, in order; nil = all
	Started  time.Duration     // on the plane's clock
	Phase    Phase
}

// observable is a TCP session or a UDP flow.
type observable interface {
	identity() SessionIdentity
	info(now time.Duration) SessionInfo
	cut(l *loop, reason Reason)
	admission() (a *Admission, held *admissionClaim, client netip.Addr)
}

func (s *session) admission() (*Admission, *admissionClaim, netip.Addr) {
	return &s.set.Admission, &s.claim, s.clientAddr.get().Addr()
}

func (s *session) identity() SessionIdentity {
	if s.phase == PhaseQueue || s.phase == PhaseHold { // the lease is that of a server that was tried before
		return SessionIdentity{ID: s.id, Listener: s.listener, Started: s.startedAt, Phase: s.phase}
	}
	return SessionIdentity{ID: s.id, Listener: s.listener, Server: s.lease.Server(), Address: s.lease.Address(), Level: s.lease.Level(), Levels: s.set.Levels, Started: s.startedAt, Phase: s.phase}
}

func (s *session) info(now time.Duration) SessionInfo {
	i := s.sessionCore.info(now, s.clientAddr.get(), s.up.bytes, s.down.bytes, s.phase)
	i.SNI = s.serverName()
	return i
}

func (f *flow) admission() (*Admission, *admissionClaim, netip.Addr) {
	return &f.set.Admission, &f.claim, f.client().Addr()
}

func (f *flow) identity() SessionIdentity {
	return SessionIdentity{ID: f.id, Listener: f.socket.ln, Server: f.lease.Server(), Address: f.lease.Address(), Level: f.lease.Level(), Levels: f.set.Levels, Started: f.startedAt, Phase: f.phase()}
}

func (f *flow) info(now time.Duration) SessionInfo {
	i := f.sessionCore.info(now, f.client(), f.bytesUp, f.bytesDown, f.phase())
	i.Promoted = f.promotion == promoted
	return i
}

// List returns at most limit sessions, in no particular order.
func (p *Plane) List(limit int) []SessionInfo {
	var mu sync.Mutex
	var list []SessionInfo
	p.walk(func(l *loop, s observable) bool {
		mu.Lock()
		defer mu.Unlock()
		if len(list) < limit {
			list = append(list, s.info(l.now))
		}
		return false
	})
	return list
}

// Cut cuts the sessions that match and returns their number.
func (p *Plane) Cut(match func(SessionIdentity) bool, reason Reason) int {
	var cut atomic.Int64
	p.walk(func(l *loop, s observable) bool {
		if !match(s.identity()) {
			return false
		}
		s.cut(l, reason)
		cut.Add(1)
		return true
	})
	return int(cut.Load())
}

// Count returns the number of sessions that match.
func (p *Plane) Count(match func(SessionIdentity) bool) int {
	var n atomic.Int64
	p.walk(func(l *loop, s observable) bool {
		if match(s.identity()) {
			n.Add(1)
		}
		return false
	})
	return int(n.Load())
}

// CutAll cuts all sessions because weir stops, and returns their number. Each waits at most for flush until its last bytes
// are acknowledged.
func (p *Plane) CutAll(flush time.Duration) int {
	p.stopFlush.Store(int64(flush))
	return p.Cut(func(SessionIdentity) bool { return true }, ReasonCutShutdown)
}

// CutID cuts one session and reports whether it exists.
func (p *Plane) CutID(id uint64, reason Reason) bool {
	return p.Cut(func(v SessionIdentity) bool { return v.ID == id }, reason) > 0
}

// A loop that walks its sessions handles other events after this many sessions, and after this many that took work.
const (
	walkBatch = 4096
	workBatch = 128
)

// walk calls visit for every session and flow, on its loop, in batches, and returns when all are visited. visit reports
// whether it did work.
func (p *Plane) walk(visit func(*loop, observable) bool) {
	var wait sync.WaitGroup
	wait.Add(len(p.loops))
	p.postAll(func(l *loop) {
		sessions := func(i int) observable {
			if s := l.sessions.all[i]; s != nil {
				return s
			}
			return nil
		}
		flows := func(i int) observable {
			if f := l.flows.all[i]; f != nil && !f.lingering {
				return f
			}
			return nil
		}
		l.walkSlots(0, func() int { return len(l.sessions.all) }, sessions, visit, func() {
			l.walkSlots(0, func() int { return len(l.flows.all) }, flows, visit, wait.Done)
		})
	})
	wait.Wait()
}

// walkSlots visits the results of at from a slot on, in batches, and then calls done.
func (l *loop) walkSlots(from int, count func() int, at func(int) observable, visit func(*loop, observable) bool, done func()) {
	seen, worked := 0, 0
	for i := from; i < count(); i++ {
		if s := at(i); s != nil && visit(l, s) {
			worked++
		}
		if seen++; seen == walkBatch || worked == workBatch {
			l.post(message{do: func(l *loop) { l.walkSlots(i+1, count, at, visit, done) }})
			return
		}
	}
	done()
}
