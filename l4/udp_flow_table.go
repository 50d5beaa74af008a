package l4

// Where a loop finds its flows: by client and address for what comes from clients, by slot for what comes from servers,
// and by age among those that no server has answered, which have to make room first.

import (
	"encoding/binary"
	"hash/maphash"
	"net/netip"
)

// flowKey is who speaks to whom: the client's address (IPv4 in its mapped form), the address that it has sent to, if the
// listener has several, the client's port, and the interface of a link-local address.
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

// client is who speaks.
func (k *flowKey) client() netip.AddrPort { return addrPort(k.ip(), k.port()) }

// minTableSize is the size below which a table does not shrink.
const minTableSize = 64

// flowTable holds the flows of one listening socket. Its hash is seeded at random: a client that chooses its addresses
// cannot make them meet.
type flowTable struct {
	seed    maphash.Seed
	buckets []*flow // chains, through flow.next; their number is a power of two
	n       int

	oldest, newest *flow // those that no server has answered yet, by age
}

func newFlowTable() flowTable {
	return flowTable{seed: maphash.MakeSeed(), buckets: make([]*flow, minTableSize)}
}

// hash places a client: the one of the key, and the one that its PROXY header names, if it does.
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

// insert adds a flow with a key that no other flow of the table has.
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

// remove takes a flow out; one that is not in is left alone.
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

// addUnanswered puts a flow last among those that have no answer.
func (t *flowTable) addUnanswered(f *flow) {
	f.older, f.newer, f.isUnanswered = t.newest, nil, true
	if t.newest == nil {
		t.oldest = f
	} else {
		t.newest.newer = f
	}
	t.newest = f
}

// removeUnanswered takes a flow out of those that have no answer; another one is left alone.
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
