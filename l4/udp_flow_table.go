package l4

// Where a loop finds its flows: by client and address for datagrams of clients, and by age among unanswered flows,
// which are evicted first. Replies find their flow by its slot.

import (
	"encoding/binary"
	"hash/maphash"
	"net/netip"
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

	oldest, newest *flow // unanswered flows, by age
}

func newFlowTable() flowTable {
	return flowTable{seed: maphash.MakeSeed(), buckets: make([]*flow, minTableSize)}
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

// addUnanswered adds a flow as the newest unanswered one.
func (t *flowTable) addUnanswered(f *flow) {
	f.older, f.newer, f.isUnanswered = t.newest, nil, true
	if t.newest == nil {
		t.oldest = f
	} else {
		t.newest.newer = f
	}
	t.newest = f
}

// removeUnanswered removes a flow that may be unanswered.
func (t *flowTable) removeUnanswered(f *flow) {
	if !f.isUnanswered {
		return
	}
	if f.older == nil {
		t.oldest = f.newer
	} else {
		f.older.newer = f.newer
	}
	if f.newer == nil {
		t.newest = f.older
	} else {
		f.newer.older = f.older
	}
	f.older, f.newer, f.isUnanswered = nil, nil, false
}
