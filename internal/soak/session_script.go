package soak

// The script of a session, which is sent in front of it, and its streams.

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"
)

// order is which side closes its direction first.
type order uint8

const (
	anyOrder    order = iota
	clientFirst       // the server's FIN waits for the client's
	serverFirst       // the client's waits for the server's
)

// idleSlack is how much longer than maxClientPause client_idle_timeout is.
const idleSlack = 2 * time.Second

// maxClientPause is the longest pause of a client. weir's idle timeout is so little longer that it often expires while
// weir is suspended, when the next byte may have arrived.
const maxClientPause = 21 * time.Second

// never is an offset beyond every stream.
const never = 1<<32 - 1

// script is what a session does. The part that the server needs is sent as the first bytes of the session.
type script struct {
	id          uint64
	echo        bool   // the server echoes; else both directions are independent streams
	order       order  // not for echo
	up, down    uint32 // bytes after the header and the preamble
	serverReset uint32 // after how many bytes down the server resets
	chunk       uint32 // maximum size of a write

	// Only for the client.
	clientReset uint32      // after how many bytes up the client resets
	pause       uint32      // milliseconds between the header and the first byte
	slow        bool        // the client reads a little at a time
	proxy       uint8       // version of the PROXY header that the client sends; 0 = none
	greeting    string      // protocol in which the servers may refuse
	hello       clientHello // sent before the header

	// Only for the server.
	helloSum uint32
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
	binary.LittleEndian.PutUint32(b[36:], helloSum(s.hello.bytes))
	return b
}

func parseHeader(b []byte) (script, error) {
	if !bytes.Equal(b[:8], magic[:]) {
		return script{}, fmt.Errorf("invalid session header %q", b[:8])
	}
	return script{
		id: binary.LittleEndian.Uint64(b[8:]), echo: b[16] == 1, order: order(b[17]),
		up: binary.LittleEndian.Uint32(b[20:]), down: binary.LittleEndian.Uint32(b[24:]),
		serverReset: binary.LittleEndian.Uint32(b[28:]), chunk: max(1, binary.LittleEndian.Uint32(b[32:])), helloSum: binary.LittleEndian.Uint32(b[36:]),
	}, nil
}

// preamble returns the first bytes of a server: its index and the session that it received.
func preamble(id uint64, server int) []byte {
	b := make([]byte, preambleSize)
	copy(b, magic[:])
	binary.LittleEndian.PutUint64(b[8:], id)
	binary.LittleEndian.PutUint64(b[16:], uint64(server))
	return b
}

// stream returns an endless pseudo-random stream. Streams with different numbers have nothing in common, so a byte that
// is lost, repeated, moved or from another session is noticed where it occurs.
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

// sizes returns the sizes of the chunks that one side writes: up to the script's maximum, small ones in a third of the
// cases.
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

// checker compares received bytes with a stream.
type checker struct {
	want *rand.ChaCha8
	n    uint32 // bytes so far
	all  uint32 // length of the stream
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

// read reads in to its end through buf and stores the number of correct bytes. It calls before ahead of each read, and use,
// unless it is nil, with the bytes of each read.
func (c *checker) read(in io.Reader, buf []byte, received *uint32, before func(), use func(got []byte) error) error {
	for {
		before()
		n, err := in.Read(buf)
		if bad := c.take(buf[:n]); bad != nil {
			return corruption{bad}
		}
		*received = c.n
		if n > 0 && use != nil {
			if err := use(buf[:n]); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF) && c.n < c.all:
			return errEarly
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// outcome is how a session ended for one side.
type outcome string

const (
	outcomeComplete outcome = "complete" // all bytes and a FIN in both directions
	outcomeReset    outcome = "reset"    // by the other side
	outcomeDenied   outcome = "denied"   // refused by a server that had accepted the connection
	outcomeGaveUp   outcome = "gave up"  // reset by this side according to the script
	outcomeRefused  outcome = "refused"  // connection refused
	outcomeKilled   outcome = "killed"   // the server was killed
	outcomeEarly    outcome = "early"    // a clean end before the last byte
	outcomeCorrupt  outcome = "corrupt"  // a wrong byte
	outcomeStalled  outcome = "stalled"  // no progress within ioTimeout
	outcomeOther    outcome = "strange"  // any other error
)
