package l4

// The set of the local addresses of the sockets that are connected to servers. It holds hashes: with 9,000 flows an entry
// takes 14 bytes, and as much again in the tables that it grew out of; in a map with the addresses as keys it took 48.
// The seed is random, so clients cannot choose addresses that collide. With a million sockets, one new client in 2^44 is
// mistaken for one of them.

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
	"sync"
)

// addressHash is the hash of a local address; 0 = none.
type addressHash uint64

// ownAddresses counts the sockets of each address, for all loops.
type ownAddresses struct {
	seed   [3]uint64
	shards [ownShards]addressShard
}

const ownShards = 16 // a power of two

func (o *ownAddresses) init() { o.seed = [3]uint64{rand.Uint64(), rand.Uint64(), rand.Uint64()} }

func (o *ownAddresses) hash(a ownAddress) addressHash {
	if a == (ownAddress{}) {
		return 0
	}
	h, l := bits.Mul64(binary.NativeEndian.Uint64(a[:])^o.seed[0], binary.NativeEndian.Uint64(a[8:])^o.seed[1])
	h, l = bits.Mul64(h^l^uint64(binary.NativeEndian.Uint16(a[16:])), o.seed[2]|1)
	return max(addressHash(h^l), 1)
}

// shard returns the part for a hash. It uses the high bits, and the tables the low ones.
func (o *ownAddresses) shard(h addressHash) *addressShard { return &o.shards[h>>60%ownShards] }

// add adds an address and returns its hash, for remove.
func (o *ownAddresses) add(a ownAddress) addressHash {
	h := o.hash(a)
	if h != 0 {
		s := o.shard(h)
		s.mu.Lock()
		s.add(h)
		s.mu.Unlock()
	}
	return h
}

// remove removes an address as often as it was added.
func (o *ownAddresses) remove(h addressHash) {
	if h != 0 {
		s := o.shard(h)
		s.mu.Lock()
		s.remove(h)
		s.mu.Unlock()
	}
}

func (o *ownAddresses) contains(a ownAddress) bool {
	h := o.hash(a)
	if h == 0 {
		return false
	}
	s := o.shard(h)
	s.mu.Lock()
	_, found := s.find(h)
	s.mu.Unlock()
	return found
}

// minAddressTable is the size below which a table does not shrink.
const minAddressTable = 16

// addressShard is an open-addressed table with linear probing. At most three quarters of it are used, and at least an
// eighth.
type addressShard struct {
	mu    sync.Mutex          // held for one access
	table []addressHash       // 0 = free; the size is a power of two
	n     int                 // entries of table
	more  map[addressHash]int // sockets beyond the first of an address; seldom any
	_     [16]byte            // a cache line each
}

// find returns the slot of a hash, or false and the free slot where its search ends.
func (s *addressShard) find(h addressHash) (int, bool) {
	if len(s.table) == 0 {
		return 0, false
	}
	i := s.home(h)
	for s.table[i] != h && s.table[i] != 0 {
		i = s.next(i)
	}
	return i, s.table[i] == h
}

func (s *addressShard) home(h addressHash) int { return int(h) & (len(s.table) - 1) }
func (s *addressShard) next(i int) int         { return (i + 1) & (len(s.table) - 1) }

func (s *addressShard) add(h addressHash) {
	if 4*(s.n+1) > 3*len(s.table) {
		s.resize(max(minAddressTable, 2*len(s.table)))
	}
	i, found := s.find(h)
	if found {
		if s.more == nil {
			s.more = map[addressHash]int{}
		}
		s.more[h]++
		return
	}
	s.table[i] = h
	s.n++
}

func (s *addressShard) remove(h addressHash) {
	i, found := s.find(h)
	if !found {
		return
	}
	if n := s.more[h]; n > 0 {
		if s.more[h] = n - 1; n == 1 {
			delete(s.more, h)
		}
		return
	}
	// Close the gap: an entry moves into it unless its home lies between the gap and the entry.
	for j := s.next(i); s.table[j] != 0; j = s.next(j) {
		if mask := len(s.table) - 1; (j-s.home(s.table[j]))&mask >= (j-i)&mask {
			s.table[i] = s.table[j]
			i = j
		}
	}
	s.table[i] = 0
	if s.n--; s.n < len(s.table)/8 && len(s.table) > minAddressTable {
		s.resize(len(s.table) / 2)
	}
}

func (s *addressShard) resize(size int) {
	old := s.table
	s.table = make([]addressHash, size)
	for _, h := range old {
		if h != 0 {
			i, _ := s.find(h)
			s.table[i] = h
		}
	}
}
