package proxy

import (
	"encoding/binary"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
)

// headers is how many random headers are compared with the other implementation; make headers runs ten million.
var headers = flag.Int("headers", 20_000, "how many random headers to generate")

// TestGenerated compares random headers, most of them valid and many with one or two wrong bytes.
func TestGenerated(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	g := generator{rand.New(rand.NewPCG(seed, 1))}
	for range *headers {
		b := g.header()
		if g.IntN(3) == 0 {
			b = g.damage(b)
		}
		compare(t, append(b, g.bytes(g.IntN(20))...))
	}
}

type generator struct{ *rand.Rand }

func (g generator) bytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(g.Uint32())
	}
	return b
}

func (g generator) header() []byte {
	if g.IntN(2) == 0 {
		return g.line()
	}
	return g.frame()
}

// ip prefers addresses with runs of zeros, as in practice.
func (g generator) ip(size int) netip.Addr {
	b := g.bytes(size)
	if size == 16 {
		switch g.IntN(4) {
		case 0:
			clear(b[2+g.IntN(6):][:8])
		case 1:
			copy(b, "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff")
		case 2:
			for i := range b {
				b[i] &= byte(g.IntN(2)) * 255
			}
		}
	}
	ip, _ := netip.AddrFromSlice(b)
	return ip
}

func (g generator) line() []byte {
	port := func() int { return g.IntN(1<<16) >> g.IntN(16) }
	switch g.IntN(5) {
	case 0:
		junk := g.bytes(g.IntN(100))
		for i := range junk {
			junk[i] = ' ' + junk[i]%95
		}
		if len(junk) > 0 {
			junk[0] = ' '
		}
		return fmt.Appendf(nil, "PROXY UNKNOWN%s\r\n", junk)
	case 1, 2:
		return fmt.Appendf(nil, "PROXY TCP4 %s %s %d %d\r\n", g.ip(4), g.ip(4), port(), port())
	case 3:
		return fmt.Appendf(nil, "PROXY TCP6 %s %s %d %d\r\n", g.ip(16).StringExpanded(), g.ip(16).StringExpanded(), port(), port())
	}
	return fmt.Appendf(nil, "PROXY TCP6 %s %s %d %d\r\n", g.ip(16), g.ip(16), port(), port())
}

func (g generator) frame() []byte {
	families := []byte{0, 0x11, 0x11, 0x12, 0x21, 0x21, 0x22, 0x31, 0x32}
	kind := families[g.IntN(len(families))]
	size, _, _ := family(kind)
	body := g.bytes(size)
	if size == addr6Size && g.IntN(3) == 0 {
		a, b := g.ip(16).As16(), g.ip(16).As16()
		copy(body[copy(body, a[:]):], b[:])
	}
	sum := -1
	for range g.IntN(6) {
		if sum < 0 && g.IntN(4) == 0 {
			sum = len(body) + tlvHead
			body = append(body, typeChecksum, 0, 4, 0, 0, 0, 0)
			continue
		}
		typ := byte(g.Uint32())
		if typ == typeChecksum {
			typ = 5
		}
		value := g.bytes(g.IntN(40))
		if g.IntN(50) == 0 {
			value = g.bytes(g.IntN(1500))
		}
		body = append(binary.BigEndian.AppendUint16(append(body, typ), uint16(len(value))), value...)
	}
	b := append([]byte(signature), 0x20|byte(g.IntN(8)/2&1), kind)
	b = append(binary.BigEndian.AppendUint16(b, uint16(len(body))), body...)
	if sum >= 0 {
		binary.BigEndian.PutUint32(b[16+sum:], crcOf(b))
	}
	return b
}

func (g generator) damage(b []byte) []byte {
	for range 1 + g.IntN(2) {
		at := g.IntN(len(b))
		if g.IntN(2) == 0 {
			at = g.IntN(min(len(b), 20))
		}
		switch g.IntN(4) {
		case 0:
			b[at] ^= 1 << g.IntN(8)
		case 1:
			b[at] = []byte(" :.0129fP\r\n\x00\xff")[g.IntN(13)]
		case 2:
			b = append(b[:at], b[at+1:]...)
		case 3:
			b = append(b[:at], append([]byte{b[at]}, b[at:]...)...)
		}
		if len(b) == 0 {
			return b
		}
	}
	return b
}
