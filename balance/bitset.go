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

// spread appends members, in order: all of them, or if there are more than most, one of each of as many parts of equal size. The
// next turn chooses the next member of each part.
func (b *bitset) spread(list []int32, most, turn int) []int32 {
	most = min(most, b.n)
	before, k := 0, 0
	for w, word := range b.words {
		n := bits.OnesCount64(word)
		for ; k < most; k++ {
			from, to := k*b.n/most, (k+1)*b.n/most
			rank := from + turn%(to-from) - before
			if rank >= n {
				break
			}
			list = append(list, int32(w*64+nthBit(word, rank)))
		}
		before += n
	}
	return list
}

// nthBit returns the place of the nth bit that is set, from 0.
func nthBit(word uint64, n int) int {
	place := 0
	for c := bits.OnesCount8(uint8(word)); n >= c; c = bits.OnesCount8(uint8(word)) {
		n -= c
		word >>= 8
		place += 8
	}
	for ; n > 0; n-- {
		word &= word - 1
	}
	return place + bits.TrailingZeros64(word)
}
