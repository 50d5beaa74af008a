package l4

// Admission: the ACL, limits and rates that a client must pass before a server is picked, for TCP and UDP, with the
// address of its socket or of its PROXY header. The limits are exact over all loops and all addresses of a listener: a
// slot is acquired by compare-and-swap, and released before the client can see that its session has ended.

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gaissmai/bart"
)

// Rejection is why a client failed admission. Its text is shown in metrics and events.
type Rejection uint8

// The reasons for rejections. Admitted is none.
const (
	Admitted              Rejection = iota
	RejectedUntrusted               // the peer is not in trusted_proxies
	RejectedDenied                  // by deny or allow
	RejectedMaxSessions             // max_sessions of the listener
	RejectedMaxFlows                // max_flows of the listener, and no flow can be evicted
	RejectedPerSource               // max_sessions_per_source
	RejectedRate                    // max_session_rate
	RejectedRatePerSource           // max_session_rate_per_source
	RejectedLoop                    // comes from a session of the same listener
	RejectedProcessLimit            // runtime.max_sessions, or the descriptor limit
	RejectedStopping                // weir stops
	rejectionCount
)

var rejectionTexts = [rejectionCount]string{
	"", "untrusted", "denied", "max_sessions", "max_flows", "max_sessions_per_source", "max_session_rate",
	"max_session_rate_per_source", "loop", "runtime_max_sessions", "stopping",
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
	case RejectedRatePerSource:
		return ReasonMaxSessionRatePerSource
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

// Networks returns the networks of the set.
func (s *AddressSet) Networks() []netip.Prefix {
	if s == nil {
		return nil
	}
	return slices.Collect(s.networks.All())
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
	State            *AdmissionState
	Allow, Deny      AccessList // Deny wins; an empty Allow admits everyone
	MaxSessions      int
	MaxPerSource     int // requires that State counts sources: NewAdmissionState, Plane.CountSources
	MaxSessionRate   int // per second, with bursts of as many
	MaxRatePerSource int // likewise, of one source
}

// AdmissionState counts the sessions of one listener, over all its addresses, as long as the listener keeps its
// identity.
type AdmissionState struct {
	sessions atomic.Int64
	awaited  atomic.Int64          // of sessions: those that the old process of an upgrade has
	waiting  atomic.Pointer[Plane] // its listen sockets wait for a slot; nil = none do
	rate     bucket
	rates    atomic.Pointer[sourceRates] // nil until MaxRatePerSource is first used

	// Parts of MaxSessionRate and MaxPerSource that this process may use, plus one; 0 = all.
	ratePart, sourcePart atomic.Int64

	prefix   atomic.Uint32 // bits of an IPv6 client's address that make its source
	counting atomic.Bool   // new sessions are counted by source
	// sources counts sessions by source. It holds only sources that have sessions, so it is never larger than the number
	// of sessions.
	sources atomic.Pointer[sources] // nil until sources are first counted
}

// NewAdmissionState returns the state of a listener without sessions. IPv6 clients with the same prefix, in bits, are one
// source.
func NewAdmissionState(countSources bool, prefix int) *AdmissionState {
	g := &AdmissionState{}
	g.prefix.Store(uint32(prefix))
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

// Sources returns the number of sources that have a count.
func (g *AdmissionState) Sources() int {
	if t := g.sources.Load(); t != nil {
		return t.size()
	}
	return 0
}

// admissionClaim is what a client holds of its listener's AdmissionState. The zero value is nothing.
type admissionClaim struct {
	reserved bool // counted in sessions before admission (Settings.WaitWhenFull)

	session bool  // counted in sessions
	source  bool  // counted in sources
	prefix  uint8 // with source: of an IPv6 client
}

// source is an IP address whose bits beyond the prefix are clear, IPv4 in mapped form.
type source [16]byte

// sourceOf returns the source of a client that has an address.
func sourceOf(client netip.Addr, prefix uint8) source {
	if client.Is4() || client.Is4In6() {
		return client.As16()
	}
	key := client.As16()
	if whole := prefix / 8; whole < 16 {
		key[whole] &= 0xff << (8 - prefix%8)
		clear(key[whole+1:])
	}
	return key
}

// acquire is acquireReserved for a client without a reservation.
func (a *Admission) acquire(client netip.Addr, tlvs []byte, now time.Duration) (held admissionClaim, why Rejection) {
	why = a.acquireReserved(&held, client, tlvs, now)
	return held, why
}

// acquireReserved admits a client or returns why not. A rejected client holds what it held before: nothing, or its
// reservation. tlvs are those of its PROXY header. The claim must be released with the same address. The rate is checked last,
// so that only admitted clients use it up.
func (a *Admission) acquireReserved(held *admissionClaim, client netip.Addr, tlvs []byte, now time.Duration) Rejection {
	client = client.Unmap()
	if a.Deny.contains(client, tlvs) || !a.Allow.isEmpty() && !a.Allow.contains(client, tlvs) {
		return RejectedDenied
	}
	g := a.State
	if !held.reserved && !acquireCount(&g.sessions, int64(a.MaxSessions)) {
		return RejectedMaxSessions
	}
	before, claim := *held, admissionClaim{session: true}
	prefix := uint8(g.prefix.Load())
	if client.IsValid() && g.counting.Load() {
		if limit, some := partOf(a.MaxPerSource, &g.sourcePart); !some || !g.sources.Load().acquire(sourceOf(client, prefix), limit) {
			a.releaseTo(&before, &claim, client)
			return RejectedPerSource
		}
		claim.source, claim.prefix = true, prefix
	}
	if a.limitsRateOf(client) && !g.sourceRates().take(sourceOf(client, prefix), now, a.MaxRatePerSource) {
		a.releaseTo(&before, &claim, client)
		return RejectedRatePerSource
	}
	if a.MaxSessionRate > 0 {
		if rate, some := partOf(a.MaxSessionRate, &g.ratePart); !some || !g.rate.take(now, rate) {
			a.refundSource(client)
			a.releaseTo(&before, &claim, client)
			return RejectedRate
		}
	}
	*held = claim
	return Admitted
}

// releaseTo releases a claim except for the reservation that it began with.
func (a *Admission) releaseTo(before, claim *admissionClaim, client netip.Addr) {
	claim.session = !before.reserved
	a.release(claim, client)
}

// limitsRateOf reports whether the rate of a client's source is limited.
func (a *Admission) limitsRateOf(client netip.Addr) bool {
	return a.MaxRatePerSource > 0 && client.IsValid()
}

func (a *Admission) refundSource(client netip.Addr) {
	if a.limitsRateOf(client) {
		a.State.sourceRates().refund(sourceOf(client, uint8(a.State.prefix.Load())), a.MaxRatePerSource)
	}
}

// acquireUnchecked counts a client that another process has admitted, without checking limits.
func (a *Admission) acquireUnchecked(client netip.Addr) admissionClaim {
	g := a.State
	if g == nil {
		return admissionClaim{}
	}
	g.arrive()
	held := admissionClaim{session: true}
	a.countSource(&held, client)
	return held
}

// cancel is release for a client that was admitted but gets no session: the rate is given back too.
func (a *Admission) cancel(p *admissionClaim, client netip.Addr) {
	a.release(p, client)
	a.refundSource(client)
	if a.MaxSessionRate > 0 {
		if rate, some := partOf(a.MaxSessionRate, &a.State.ratePart); some {
			a.State.rate.refund(rate)
		}
	}
}

// release releases a claim, once.
func (a *Admission) release(p *admissionClaim, client netip.Addr) {
	held := *p
	*p = admissionClaim{}
	if held.source {
		a.State.sources.Load().release(sourceOf(client, held.prefix))
	}
	if held.session || held.reserved {
		a.State.release()
	}
}

// release uncounts a session and wakes the listen sockets that wait for its slot.
func (g *AdmissionState) release() {
	g.sessions.Add(-1)
	g.wake()
}

// wake wakes the listen sockets that wait for a slot.
func (g *AdmissionState) wake() {
	if p := g.waiting.Load(); p != nil && g.waiting.CompareAndSwap(p, nil) {
		p.resumeWaiting()
	}
}

// countSource counts the source of a client that was admitted before sources were counted, or with another prefix.
func (a *Admission) countSource(p *admissionClaim, client netip.Addr) {
	if !p.session || !client.IsValid() || !a.State.counting.Load() {
		return
	}
	prefix, sources := uint8(a.State.prefix.Load()), a.State.sources.Load()
	if p.source && p.prefix == prefix {
		return
	}
	sources.acquire(sourceOf(client, prefix), 0)
	if p.source {
		sources.release(sourceOf(client, p.prefix))
	}
	p.source, p.prefix = true, prefix
}

// CountSources makes a state count sessions by source from now on, including the existing ones, or stops it. IPv6 clients
// with the same prefix, in bits, are one source. It returns when every session is counted; the loops must run. An
// Admission with MaxPerSource may be put in force only after that.
func (p *Plane) CountSources(g *AdmissionState, on bool, prefix int) {
	same := g.prefix.Swap(uint32(prefix)) == uint32(prefix)
	if !on {
		g.counting.Store(false)
		return
	}
	if same && g.counting.Load() {
		return
	}
	g.startCounting()
	p.walk(func(_ *loop, s observable) bool {
		if a, held, client := s.admission(); a.State == g && held.session {
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

// sources counts sessions by source. A source is in it for as long as it has sessions, so it is never larger than the
// number of sessions.
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
	counts map[source]uint32
	peak   int
	_      [40]byte // a cache line each
}

func (t *sources) shard(key *source) *sourceShard {
	h := (binary.LittleEndian.Uint64(key[:8]) ^ binary.LittleEndian.Uint64(key[8:])) * 0x9e3779b97f4a7c15
	return &t.shards[h>>(64-sourceBits)]
}

// acquire counts a session of a source, unless the limit is reached; 0 is no limit.
func (t *sources) acquire(key source, limit int) bool {
	s := t.shard(&key)
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.counts[key]
	if limit > 0 && n >= uint32(limit) {
		return false
	}
	if s.counts == nil {
		s.counts = map[source]uint32{}
	}
	s.counts[key] = n + 1
	s.peak = max(s.peak, len(s.counts))
	return true
}

// release uncounts a session of a source.
func (t *sources) release(key source) {
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

// most returns the number of sessions of the source that has most.
func (t *sources) most() (most int) {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		for _, n := range s.counts {
			most = max(most, int(n))
		}
		s.mu.Unlock()
	}
	return most
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
