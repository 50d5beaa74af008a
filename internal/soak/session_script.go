package soak

// What a session is to do, written in front of it, and the streams that it carries.

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
)

// order says which side ends its direction first.
type order uint8

const (
	anyOrder    order = iota
	clientFirst       // the server's FIN waits for the client's
	serverFirst       // the client's waits for the server's
)

// never is an offset that no stream reaches.
const never = 1<<32 - 1

// script is what a session is to do. The part that the server has to know travels as the session's first bytes.
type script struct {
	id          uint64
	echo        bool   // what comes down is what went up; else both are streams of their own
	order       order  // not for echo
	up, down    uint32 // bytes after the header and the preamble
	serverReset uint32 // after how many bytes down the server resets
	chunk       uint32 // the most that either side writes at once

	// The client's own part.
	clientReset uint32 // after how many bytes up the client resets
	pause       uint32 // milliseconds between the header and the first byte
	slow        bool   // the client reads a little at a time
	proxy       uint8  // it comes through another proxy: the version of the header; 0 = it does not
}

const (
	headerSize   = 40
	preambleSize = 24
)

var magic = [8]byte{'w', 'e', 'i', 'r', 's', 'o', 'a', 'k'}

func (s *script) header() []byte {
	b := make([]byte, headerSize)
	copy(b, magic[:])
	binary.LittleEndian.PutUint64(b[8:], s.id)
	if s.echo {
		b[16] = 1
	}
	b[17] = byte(s.order)
	binary.LittleEndian.PutUint32(b[20:], s.up)
	binary.LittleEndian.PutUint32(b[24:], s.down)
	binary.LittleEndian.PutUint32(b[28:], s.serverReset)
	binary.LittleEndian.PutUint32(b[32:], s.chunk)
	return b
}

func parseHeader(b []byte) (script, error) {
	if !bytes.Equal(b[:8], magic[:]) {
		return script{}, fmt.Errorf("a session begins with %q", b[:8])
	}
	return script{
		id: binary.LittleEndian.Uint64(b[8:]), echo: b[16] == 1, order: order(b[17]),
		up: binary.LittleEndian.Uint32(b[20:]), down: binary.LittleEndian.Uint32(b[24:]),
		serverReset: binary.LittleEndian.Uint32(b[28:]), chunk: max(1, binary.LittleEndian.Uint32(b[32:])),
	}, nil
}

// preamble is what a server says first: who it is, and whom it takes this session for.
func preamble(id uint64, server int) []byte {
	b := make([]byte, preambleSize)
	copy(b, magic[:])
	binary.LittleEndian.PutUint64(b[8:], id)
	binary.LittleEndian.PutUint64(b[16:], uint64(server))
	return b
}

// stream is an endless sequence of bytes that a number decides. Streams of different numbers have nothing in common, so a
// byte that is lost, repeated, moved or somebody else's is noticed where it happens.
func stream(number uint64) *rand.ChaCha8 {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], number)
	return rand.NewChaCha8(key)
}

func (s *script) upStream() *rand.ChaCha8 { return stream(2 * s.id) }

func (s *script) downStream() *rand.ChaCha8 {
	if s.echo {
		return s.upStream()
	}
	return stream(2*s.id + 1)
}

// sizes are those of the chunks that one side writes: from one byte to the script's most, small ones as often as large.
func (s *script) sizes(side uint64) func() int {
	r := rand.New(rand.NewPCG(s.id, side))
	most := int(s.chunk)
	return func() int {
		if most > 64 && r.IntN(3) == 0 {
			return 1 + r.IntN(64)
		}
		return 1 + r.IntN(most)
	}
}

// checker compares what arrives with what was sent.
type checker struct {
	want *rand.ChaCha8
	n    uint32 // bytes so far
	all  uint32 // bytes that there are to be
	buf  []byte
}

func newChecker(want *rand.ChaCha8, all uint32) *checker {
	return &checker{want: want, all: all, buf: make([]byte, 32<<10)}
}

func (c *checker) take(got []byte) error {
	for len(got) > 0 {
		if c.n == c.all {
			return fmt.Errorf("%d bytes too many after %d", len(got), c.all)
		}
		k := min(len(got), len(c.buf), int(c.all-c.n))
		_, _ = c.want.Read(c.buf[:k])
		if !bytes.Equal(got[:k], c.buf[:k]) {
			for i := range k {
				if got[i] != c.buf[i] {
					return fmt.Errorf("wrong byte at %d of %d", int(c.n)+i, c.all)
				}
			}
		}
		c.n += uint32(k)
		got = got[k:]
	}
	return nil
}

// outcome is how one side saw a session end.
type outcome string

const (
	complete outcome = "complete" // everything came and went, then FIN both ways
	reset    outcome = "reset"    // by the other side
	gaveUp   outcome = "gave up"  // by this side, with a reset, as the script says
	refused  outcome = "refused"  // nobody listened
	killed   outcome = "killed"   // the server died
	early    outcome = "early"    // a clean end before the last byte
	corrupt  outcome = "corrupt"  // a wrong byte
	stalled  outcome = "stalled"  // nothing moved for too long
	strange  outcome = "strange"  // any other error
)
