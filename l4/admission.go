package l4

// Admission: the ACL, limits and rates that a client must pass before a server is picked, for TCP and UDP, with the
// address of its socket or of its PROXY header. The limits are exact over all loops and all addresses of a listener: a
// slot is acquired by compare-and-swap, and released before the client can see that its session has ended.

import (
	"encoding/binary"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gaissmai/bart"
)

// Rejection is why a client failed admission. Its text is shown in metrics and events.
type Rejection uint8

// The reasons for rejections. Admitted is none.
const (
	Admitted             Rejection = iota
	RejectedUntrusted              // the peer is not in trusted_proxies
	RejectedDenied                 // by deny or allow
	RejectedMaxSessions            // max_sessions of the listener
	RejectedMaxFlows               // max_flows of the listener, and no flow can be evicted
	RejectedPerSource              // max_sessions_per_source
	RejectedRate                   // max_session_rate
	RejectedProcessLimit           // runtime.max_sessions, or the descriptor limit
	RejectedStopping               // weir stops
	rejectionCount
)

var rejectionTexts = [rejectionCount]string{
	"", "untrusted", "denied", "max_sessions", "max_flows", "max_sessions_per_source", "max_session_rate", "runtime_max_sessions", "stopping",
}

func (r Rejection) String() string { return rejectionTexts[r] }

// Rejections returns all reasons. A Rejection is its own index into Counters.Rejected.
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

// temporary reports whether a rejection is over when some session ends.
func (r Rejection) temporary() bool {
	return r == RejectedMaxSessions || r == RejectedPerSource || r == RejectedProcessLimit
}

// AddressSet is an immutable set of networks, and optionally of the clients of unix sockets, which have no address. nil
// is the empty set.
type AddressSet struct {
	networks bart.Lite
	unix     bool
}

// NewAddressSet returns a set of networks whose addresses are not IPv4-mapped. A lookup takes some ten nanoseconds,
// whatever their number.
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

// Contains reports whether ip is in the set. The zero Addr stands for a client of a unix socket.
func (s *AddressSet) Contains(ip netip.Addr) bool {
	switch {
	case s == nil:
		return false
	case !ip.IsValid():
		return s.unix
	}
	return s.networks.Contains(ip)
}

// Admission is the immutable admission policy of a listener, a part of its Settings. Limits of 0 are none. State holds
// the counts that the limits apply to, and stays when the policy is replaced.
type Admission struct {
	State          *AdmissionState
	Allow, Deny    *AddressSet // Deny wins; a nil Allow admits everyone
	MaxSessions    int
	MaxPerSource   int // requires that State counts sources: NewAdmissionState, Plane.CountSources
	MaxSessionRate int // per second, with bursts of as many
}

// AdmissionState counts the sessions of one listener, over all its addresses, as long as the listener keeps its
// identity.
type AdmissionState struct {
	sessions atomic.Int64
	rate     bucket

	counting atomic.Bool // new sessions are counted by source
	// sources counts sessions by client address. It holds only addresses that have sessions, so it is never larger than
	// the number of sessions.
	sources atomic.Pointer[sources] // nil until sources are first counted
}

// NewAdmissionState returns the state of a listener without sessions.
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

// Sessions returns the number of sessions that hold a slot.
func (g *AdmissionState) Sessions() int { return int(g.sessions.Load()) }

// Sources returns the number of addresses that have a count.
func (g *AdmissionState) Sources() int {
	if t := g.sources.Load(); t != nil {
		return t.size()
	}
	return 0
}

// admissionClaim is what a client holds of its listener's AdmissionState. The zero value is nothing.
type admissionClaim uint8

const (
	claimSession admissionClaim = 1 << iota // counted in sessions
	claimSource                             // counted in sources
)

// acquire admits a client or returns why not. A rejected client holds nothing. The claim must be released with the same
// address. The rate is checked last, so that only admitted clients use it up.
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

// acquireUnchecked counts a client that another process has admitted, without checking limits.
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

// cancel is release for a client that was admitted but gets no session: the rate is given back too.
func (a *Admission) cancel(p *admissionClaim, client netip.Addr) {
	a.release(p, client)
	if a.MaxSessionRate > 0 {
		a.State.rate.refund(a.MaxSessionRate)
	}
}

// release releases a claim, once.
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

// countSource counts the source of a client that was admitted before sources were counted.
func (a *Admission) countSource(p *admissionClaim, client netip.Addr) {
	if *p&claimSession != 0 && *p&claimSource == 0 && client.IsValid() && a.State.counting.Load() {
		a.State.sources.Load().acquire(client, 0)
		*p |= claimSource
	}
}

// CountSources makes a state count sessions by source from now on, including the existing ones, or stops it. It returns
// when every session is counted; the loops must run. An Admission with MaxPerSource may be put in force only after
// that.
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

// acquireCount increments a counter unless it has reached the limit; 0 is no limit.
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

// bucket holds one second's worth of a rate. It stores one number, the time at which it will be full again (the generic
// cell rate algorithm of ITU-T I.371, with that time as the theoretical arrival time).
type bucket struct {
	full atomic.Int64 // on the plane's clock
}

func rateInterval(rate int) int64 { return max(int64(time.Second)/int64(rate), 1) }

// take removes one unit, or reports that there is none.
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

// refund adds one unit.
func (b *bucket) refund(rate int) { b.full.Add(-rateInterval(rate)) }

// sources counts sessions by client address. An address is in it for as long as it has sessions, so it is never larger
// than the number of sessions.
type sources struct {
	shards [sourceShards]sourceShard
}

const (
	sourceShards   = 1 << sourceBits
	sourceBits     = 4
	sourceKeepSize = 1024 // a shard that has held more frees its memory when it is empty
)

type sourceShard struct {
	mu     sync.Mutex // held for one access
	counts map[[16]byte]uint32
	peak   int
	_      [40]byte // a cache line each
}

func (t *sources) shard(key *[16]byte) *sourceShard {
	h := (binary.LittleEndian.Uint64(key[:8]) ^ binary.LittleEndian.Uint64(key[8:])) * 0x9e3779b97f4a7c15
	return &t.shards[h>>(64-sourceBits)]
}

// acquire counts a session of an address, unless the limit is reached; 0 is no limit.
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

// release uncounts a session of an address.
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
