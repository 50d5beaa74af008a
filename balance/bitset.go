package balance

import "math/bits"

// bitset is a set of slot indexes that knows its size.
type bitset struct {
	words []uint64
	n     int
}

func newBitset(size int) bitset { return bitset{words: make([]uint64, (size+63)/64)} }

func (b *bitset) has(i int) bool { return b.words[i/64]>>(i%64)&1 == 1 }

func (b *bitset) set(i int, in bool) {
	if b.has(i) == in {
		return
	}
	b.words[i/64] ^= 1 << (i % 64)
	if in {
		b.n++
	} else {
		b.n--
	}
}

// next returns the first member at or after i, or -1.
func (b *bitset) next(i int) int {
	for w := i / 64; w < len(b.words); w++ {
		word := b.words[w]
		if w == i/64 {
			word = word >> (i % 64) << (i % 64)
		}
		if word != 0 {
			return w*64 + bits.TrailingZeros64(word)
		}
	}
	return -1
}
