package l4

// Who is let in: the one judgement that every client passes before a server is looked for, TCP or UDP, with the address
// of its socket or the one that a PROXY header carries. The limits are exact over all loops and all addresses of a
// listener: a place is taken by compare-and-swap, and given back before the client can see the end of its session.

import (
	"encoding/binary"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gaissmai/bart"
)

// Rejection is why a client was not let in. Its text is what metrics and events show.
type Rejection uint8

// The reasons for refusals. Admitted is none.
const (
	Admitted             Rejection = iota
	RejectedUntrusted              // it is not among trusted_proxies
	RejectedDenied                 // deny names the client, or allow does not
	RejectedMaxSessions            // max_sessions of the listener
	RejectedMaxFlows               // max_flows of the listener, and every flow has been answered
	RejectedPerSource              // max_sessions_per_source
	RejectedRate                   // max_session_rate
	RejectedProcessLimit           // runtime.max_sessions, or what the descriptor limit allows
	RejectedStopping               // weir is about to end
	rejectionCount
)

var rejectionTexts = [rejectionCount]string{
	"", "untrusted", "denied", "max_sessions", "max_flows", "max_sessions_per_source", "max_session_rate", "runtime_max_sessions", "stopping",
}

func (r Rejection) String() string { return rejectionTexts[r] }

// Rejections are all the reasons; a Refusal is its own index into Counters.Refused.
func Rejections() []Rejection {
	all := make([]Rejection, 0, rejectionCount-1)
	for r := Admitted + 1; r < rejectionCount; r++ {
		all = append(all, r)
	}
	return all
}

// reason returns the reason of a session that ends with this rejection in PhaseAdmit.
func (r Rejection) reason() Reason {
	switch r {
	case RejectedDenied:
		return ReasonDenied
	case RejectedMaxSessions:
		return ReasonMaxSessions
	case RejectedPerSource:
		return ReasonMaxSessionsPerSource
	case RejectedRate:
		return ReasonMaxSessionRate
	}
	return ReasonNone
}

// temporary reports whether a refusal is over when some session ends, which may be under way.
func (r Rejection) temporary() bool {
	return r == RejectedMaxSessions || r == RejectedPerSource || r == RejectedProcessLimit
}

// AddressSet is a set of networks, and perhaps of those who come by a unix socket and have no address. It is immutable.
// nil is the empty set.
type AddressSet struct {
	networks bart.Lite
	unix     bool
}

// NewAddressSet makes a set of networks whose addresses are not IPv4-mapped. A lookup takes some ten nanoseconds,
// however many there are.
func NewAddressSet(networks []netip.Prefix, unix bool) *AddressSet {
	if len(networks) == 0 && !unix {
		return nil
	}
	s := &AddressSet{unix: unix}
	for _, n := range networks {
		s.networks.Insert(n)
	}
	return s
}

// Contains reports whether an address is in the set. The zero Addr stands for the client of a unix socket.
func (s *AddressSet) Contains(ip netip.Addr) bool {
	switch {
	case s == nil:
		return false
	case !ip.IsValid():
		return s.unix
	}
	return s.networks.Contains(ip)
}

// Admission is what a listener asks of its clients. It is immutable, a part of Settings; limits of 0 are none. What is
// counted for the limits is in the Gate, which stays when the Admission is replaced.
type Admission struct {
	State          *AdmissionState
	Allow, Deny    *AddressSet // Deny wins; an empty Allow is everyone
	MaxSessions    int
	MaxPerSource   int // the gate must count sources: NewAdmissionState, Plane.CountSources
	MaxSessionRate int // per second, with bursts of as many
}

// AdmissionState counts the sessions of one listener, over all its addresses, for as long as it keeps its identity.
type AdmissionState struct {
	sessions atomic.Int64
	rate     bucket

	counting atomic.Bool             // new sessions are counted by source
	sources  atomic.Pointer[sources] // made when they are first counted; sessions that were counted leave it
}

// NewAdmissionState makes a gate for a listener that has no sessions yet.
func NewAdmissionState(countSources bool) *AdmissionState {
	g := &AdmissionState{}
	if countSources {
		g.startCounting()
	}
	return g
}

func (g *AdmissionState) startCounting() {
	if g.sources.Load() == nil {
		g.sources.Store(&sources{})
	}
	g.counting.Store(true)
}

// Sessions is how many have been let in and have not left.
func (g *AdmissionState) Sessions() int { return int(g.sessions.Load()) }

// Sources is how many addresses have a count.
func (g *AdmissionState) Sources() int {
	if t := g.sources.Load(); t != nil {
		return t.size()
	}
	return 0
}

// claim is what a client holds of its listener's gate. The zero value is nothing.
type admissionClaim uint8

const (
	claimSession admissionClaim = 1 << iota // it is counted
	claimSource                             // its address is counted too
)

// acquire lets a client in or says why not. Nothing is held after a refusal. What was given must go back through leave,
// with the same address. The rate is asked last, so that only those who come in use it up.
func (a *Admission) acquire(client netip.Addr, now time.Duration) (admissionClaim, Rejection) {
	if a.Deny.Contains(client) || a.Allow != nil && !a.Allow.Contains(client) {
		return 0, RejectedDenied
	}
	g := a.State
	if !acquireCount(&g.sessions, int64(a.MaxSessions)) {
		return 0, RejectedMaxSessions
	}
	held := claimSession
	if client.IsValid() && g.counting.Load() {
		if !g.sources.Load().acquire(client, a.MaxPerSource) {
			a.release(&held, client)
			return 0, RejectedPerSource
		}
		held |= claimSource
	}
	if a.MaxSessionRate > 0 && !g.rate.take(now, a.MaxSessionRate) {
		a.release(&held, client)
		return 0, RejectedRate
	}
	return held, Admitted
}

// maxSegment counts a client that another process has let in, whatever the limits are here.
func (a *Admission) acquireUnchecked(client netip.Addr) admissionClaim {
	g := a.State
	if g == nil {
		return 0
	}
	g.sessions.Add(1)
	held := claimSession
	a.countSource(&held, client)
	return held
}

// cancel is leave for a client that was let in and then not made a session: the rate forgets it too.
func (a *Admission) cancel(p *admissionClaim, client netip.Addr) {
	a.release(p, client)
	if a.MaxSessionRate > 0 {
		a.State.rate.refund(a.MaxSessionRate)
	}
}

// release gives back what a pass holds, once.
func (a *Admission) release(p *admissionClaim, client netip.Addr) {
	held := *p
	*p = 0
	if held&claimSource != 0 {
		a.State.sources.Load().release(client)
	}
	if held&claimSession != 0 {
		a.State.sessions.Add(-1)
	}
}

// countSource counts the source of a client that was let in before sources were counted.
func (a *Admission) countSource(p *admissionClaim, client netip.Addr) {
	if *p&claimSession != 0 && *p&claimSource == 0 && client.IsValid() && a.State.counting.Load() {
		a.State.sources.Load().acquire(client, 0)
		*p |= claimSource
	}
}

// CountSources makes a gate count sessions by source from now on, those included that there are, or stop it. It returns
// when every session is counted; the loops must be running. Only then may an Admission with MaxPerSource be put in force.
func (p *Plane) CountSources(g *AdmissionState, on bool) {
	if !on {
		g.counting.Store(false)
		return
	}
	if g.counting.Load() {
		return
	}
	g.startCounting()
	p.walk(func(_ *loop, s observable) bool {
		if a, held, client := s.admission(); a.State == g && *held != 0 {
			a.countSource(held, client)
		}
		return false
	})
}

// acquireCount counts one more, unless there are as many as the limit allows; 0 is no limit.
func acquireCount(count *atomic.Int64, limit int64) bool {
	if limit == 0 {
		count.Add(1)
		return true
	}
	for {
		n := count.Load()
		if n >= limit {
			return false
		}
		if count.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// bucket holds one second's worth of what a rate allows. It keeps one number: the moment at which it will be full again
// (the generic cell rate algorithm of ITU-T I.371, with that moment as its theoretical arrival time).
type bucket struct {
	full atomic.Int64 // on the plane's clock
}

func rateInterval(rate int) int64 { return max(int64(time.Second)/int64(rate), 1) }

// acquire takes one out, or reports that there is none.
func (b *bucket) take(now time.Duration, rate int) bool {
	each := rateInterval(rate)
	for {
		full := b.full.Load()
		next := max(full, int64(now)) + each
		if next-int64(now) > each*int64(rate) {
			return false
		}
		if b.full.CompareAndSwap(full, next) {
			return true
		}
	}
}

// refund puts one back.
func (b *bucket) refund(rate int) { b.full.Add(-rateInterval(rate)) }

// sources counts sessions by client address. An address is in it for as long as it has sessions, so it is never larger
// than the number of sessions.
type sources struct {
	shards [sourceShards]sourceShard
}

const (
	sourceShards   = 1 << sourceBits
	sourceBits     = 4
	sourceKeepSize = 1024 // a shard that has held so many gives its memory back when it is empty
)

type sourceShard struct {
	mu     sync.Mutex // acceptPaused for one look
	counts map[[16]byte]uint32
	peak   int
	_      [40]byte // a cache line each
}

func (t *sources) shard(key *[16]byte) *sourceShard {
	h := (binary.LittleEndian.Uint64(key[:8]) ^ binary.LittleEndian.Uint64(key[8:])) * 0x9e3779b97f4a7c15
	return &t.shards[h>>(64-sourceBits)]
}

// acquireCount counts one more session of an address, unless it has as many as the limit allows; 0 is no limit.
func (t *sources) acquire(client netip.Addr, limit int) bool {
	key := client.As16()
	s := t.shard(&key)
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.counts[key]
	if limit > 0 && n >= uint32(limit) {
		return false
	}
	if s.counts == nil {
		s.counts = map[[16]byte]uint32{}
	}
	s.counts[key] = n + 1
	s.peak = max(s.peak, len(s.counts))
	return true
}

// release takes a session of an address out of the count.
func (t *sources) release(client netip.Addr) {
	key := client.As16()
	s := t.shard(&key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.counts[key]; n > 1 {
		s.counts[key] = n - 1
		return
	}
	delete(s.counts, key)
	if len(s.counts) == 0 && s.peak > sourceKeepSize {
		s.counts, s.peak = nil, 0
	}
}

func (t *sources) size() int {
	n := 0
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		n += len(s.counts)
		s.mu.Unlock()
	}
	return n
}
