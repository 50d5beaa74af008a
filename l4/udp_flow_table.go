package l4

// Where a loop finds its flows: by client and address for datagrams of clients, and by age among those that may be
// evicted. Replies find their flow by its slot.

import (
	"encoding/binary"
	"hash/maphash"
	"math"
	"net/netip"
	"sync/atomic"
	"time"
)

// flowKey identifies a client: its address (IPv4 in mapped form), the address that it sent to if the listener has
// several, its port, and the interface of a link-local address.
type flowKey [38]byte

func makeFlowKey(client, local *[16]byte, port uint16, scope uint32) (k flowKey) {
	copy(k[:16], client[:])
	copy(k[16:32], local[:])
	binary.NativeEndian.PutUint16(k[32:], port)
	binary.NativeEndian.PutUint32(k[34:], scope)
	return k
}

func (k *flowKey) ip() *[16]byte    { return (*[16]byte)(k[:16]) }
func (k *flowKey) local() *[16]byte { return (*[16]byte)(k[16:32]) }
func (k *flowKey) port() uint16     { return binary.NativeEndian.Uint16(k[32:]) }
func (k *flowKey) scope() uint32    { return binary.NativeEndian.Uint32(k[34:]) }

// client returns the client's address.
func (k *flowKey) client() netip.AddrPort { return addrPort(k.ip(), k.port()) }

// minTableSize is the size below which a table does not shrink.
const minTableSize = 64

// flowTable holds the flows of one listen socket. Its hash has a random seed: clients cannot choose addresses that
// collide.
type flowTable struct {
	seed    maphash.Seed
	buckets []*flow // chains, through flow.next; their number is a power of two
	n       int

	unproven  [stageConfirmed]flowList // flows that may be evicted, by stage
	ages      *flowAges                // of the oldest in unproven, for the other loops
	evictions evictionRate
}

func newFlowTable(ages *flowAges) flowTable {
	return flowTable{ages: ages, seed: maphash.MakeSeed(), buckets: make([]*flow, minTableSize)}
}

// hash returns the hash of a client: its key, and the client that its PROXY header names, if any.
func (t *flowTable) hash(k *flowKey, named netip.AddrPort) uint32 {
	h := maphash.Bytes(t.seed, k[:])
	if named.IsValid() {
		h ^= maphash.Comparable(t.seed, named)
	}
	return uint32(h)
}

func (t *flowTable) find(k *flowKey, named netip.AddrPort, hash uint32) *flow {
	f := t.buckets[hash&uint32(len(t.buckets)-1)]
	for f != nil && (f.hash != hash || f.key != *k || f.headerClient() != named) {
		f = f.next
	}
	return f
}

// insert adds a flow whose key is not in the table.
func (t *flowTable) insert(f *flow) {
	if t.n >= len(t.buckets) {
		t.resize(2 * len(t.buckets))
	}
	t.link(f)
	f.inTable = true
	t.n++
}

func (t *flowTable) link(f *flow) {
	head := &t.buckets[f.hash&uint32(len(t.buckets)-1)]
	f.next = *head
	*head = f
}

// remove removes a flow that may be in the table.
func (t *flowTable) remove(f *flow) {
	if !f.inTable {
		return
	}
	at := &t.buckets[f.hash&uint32(len(t.buckets)-1)]
	for *at != f {
		at = &(*at).next
	}
	*at = f.next
	f.next, f.inTable = nil, false
	if t.n--; t.n < len(t.buckets)/8 && len(t.buckets) > minTableSize {
		t.resize(max(minTableSize, len(t.buckets)/4))
	}
}

func (t *flowTable) resize(size int) {
	old := t.buckets
	t.buckets = make([]*flow, size)
	for _, f := range old {
		for f != nil {
			next := f.next
			t.link(f)
			f = next
		}
	}
}

// flowStage is how much a flow has proved about its client, whose address may be forged.
type flowStage uint8

const (
	stageUnanswered  flowStage = iota // no server has replied
	stageUnconfirmed                  // a server has replied, and the client has not sent since
	stageConfirmed                    // the client has sent after a reply: its address is not forged
)

// flowList holds flows in the order in which they were added.
type flowList struct {
	oldest, newest *flow
	n              int
}

// flowAges holds the times since which the oldest flow of each stage is in its list; noFlow = the list is empty. Written
// by one loop, read by anyone.
type flowAges struct {
	since [stageConfirmed]atomic.Int64
	_     [48]byte // a cache line each
}

const noFlow = math.MaxInt64

func (a *flowAges) init() {
	for i := range a.since {
		a.since[i].Store(noFlow)
	}
}

// setStage moves a flow to the list of its stage, as the newest one. Confirmed flows are in no list.
func (t *flowTable) setStage(f *flow, stage flowStage, now time.Duration) {
	t.unlist(f)
	f.stage, f.stagedAt = stage, now
	if stage == stageConfirmed {
		return
	}
	list := &t.unproven[stage]
	if list.add(f); list.n == 1 {
		t.ages.since[stage].Store(int64(now))
	}
}

// unlist removes a flow from the list of its stage. A flow that has no older one and is not the oldest is in no list.
func (t *flowTable) unlist(f *flow) {
	if f.stage == stageConfirmed {
		return
	}
	list := &t.unproven[f.stage]
	first := list.oldest == f
	if !first && f.older == nil {
		return
	}
	list.remove(f)
	if !first {
		return
	}
	since := int64(noFlow)
	if list.oldest != nil {
		since = int64(list.oldest.stagedAt)
	}
	t.ages.since[f.stage].Store(since)
}

// add adds a flow that is in no list, as the newest one.
func (list *flowList) add(f *flow) {
	f.older = list.newest
	if list.newest == nil {
		list.oldest = f
	} else {
		list.newest.newer = f
	}
	list.newest = f
	list.n++
}

// remove removes a flow of the list.
func (list *flowList) remove(f *flow) {
	if f.older == nil {
		list.oldest = f.newer
	} else {
		f.older.newer = f.newer
	}
	if f.newer == nil {
		list.newest = f.older
	} else {
		f.newer.older = f.older
	}
	f.older, f.newer = nil, nil
	list.n--
}

// victim returns the flow to evict next: the oldest unanswered one, else the oldest unconfirmed one, else nil. In a flood
// it is the oldest of the longer list: where servers reply to forged datagrams too, the unanswered flows are those of
// clients that wait for their first reply, and evicting them first would serve none.
func (t *flowTable) victim(flood bool) *flow {
	unanswered, unconfirmed := &t.unproven[stageUnanswered], &t.unproven[stageUnconfirmed]
	if unanswered.n == 0 || flood && unconfirmed.n > unanswered.n {
		return unconfirmed.oldest
	}
	return unanswered.oldest
}

// floodEvictions is the number of evictions within a second that shows a flood.
const floodEvictions = 16

// evictionRate counts the evictions of the current and the last second.
type evictionRate struct {
	second        time.Duration
	current, last int
}

// add counts an eviction.
func (r *evictionRate) add(now time.Duration) {
	r.update(now)
	r.current++
}

// flood reports whether more than floodEvictions happened within the current or the last second.
func (r *evictionRate) flood(now time.Duration) bool {
	r.update(now)
	return max(r.current, r.last) > floodEvictions
}

func (r *evictionRate) update(now time.Duration) {
	second := now.Truncate(time.Second)
	switch second {
	case r.second:
		return
	case r.second + time.Second:
		r.last = r.current
	default:
		r.last = 0
	}
	r.second, r.current = second, 0
}
