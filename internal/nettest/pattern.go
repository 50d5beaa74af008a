// Streams whose every byte is known beforehand, and the clients and hosts that check them.

package nettest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"syscall"
	"time"
)

// Pattern is an endless stream of bytes that the seed decides. Streams of different seeds have nothing in common, so that
// a byte that is lost, repeated, moved or somebody else's is noticed where it happens.
func Pattern(seed uint64) io.Reader {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	return rand.NewChaCha8(key)
}

// ErrCorrupt is wrapped by the errors of streams that ended cleanly but were not what was sent: a wrong byte, one too
// many, or an EOF before the last one.
var ErrCorrupt = errors.New("stream is corrupt")

// Expect reads n bytes of Pattern(seed) and then the EOF. An error that does not wrap ErrCorrupt is the reader's own.
func Expect(r io.Reader, seed uint64, n int64) error {
	pattern := Pattern(seed)
	got, want := make([]byte, 32<<10), make([]byte, 32<<10)
	for offset := int64(0); ; {
		k, err := r.Read(got)
		if int64(k) > n-offset {
			return fmt.Errorf("%d bytes or more after the last of %d: %w", int64(k)-(n-offset), n, ErrCorrupt)
		}
		pattern.Read(want[:k])
		if !bytes.Equal(got[:k], want[:k]) {
			for i := range k {
				if got[i] != want[i] {
					return fmt.Errorf("wrong byte at %d of %d: %w", offset+int64(i), n, ErrCorrupt)
				}
			}
		}
		offset += int64(k)
		switch {
		case err == io.EOF && offset < n:
			return fmt.Errorf("end of stream at %d of %d: %w", offset, n, errCut)
		case err == io.EOF:
			return nil
		case err != nil:
			return fmt.Errorf("at %d of %d: %w", offset, n, err)
		}
	}
}

// writePattern writes n bytes of Pattern(seed) in chunks of random sizes up to maxChunk, then closes the side.
func writePattern(c *net.TCPConn, seed uint64, n int64, maxChunk int) error {
	pattern := Pattern(seed)
	sizes := rand.New(rand.NewPCG(seed, 1))
	buf := make([]byte, maxChunk)
	for left := n; left > 0; {
		k := min(left, int64(1+sizes.IntN(maxChunk)))
		pattern.Read(buf[:k])
		if _, err := c.Write(buf[:k]); err != nil {
			return fmt.Errorf("writing at %d of %d: %w", n-left, n, err)
		}
		left -= k
	}
	return c.CloseWrite()
}

// Exchange sends n bytes to a host that echoes, in random chunks of 1 to maxChunk bytes, closes its side, and checks that
// the same bytes and then an EOF come back. It closes the connection.
func Exchange(c *net.TCPConn, seed uint64, n int64, maxChunk int) error {
	return converse(c, seed, n, seed, n, maxChunk, 0)
}

// errCut is the kind of ErrCorrupt that a reset can be mistaken for.
var errCut = fmt.Errorf("cut short: %w", ErrCorrupt)

// converse writes one stream and expects another at the same time, and closes the connection. The reader's error is the
// one that counts when both fail: it tells what arrived. But the kernel reports a reset once: when the writer was told
// ECONNRESET (EPIPE would mean that a FIN had come first), an end is all that is left for the reader.
func converse(
	c *net.TCPConn, writeSeed uint64, write int64, readSeed uint64, read int64, maxChunk int, late time.Duration,
) error {
	defer c.Close()
	written := make(chan error, 1)
	go func() {
		err := writePattern(c, writeSeed, write, maxChunk)
		written <- err
	}()
	time.Sleep(late)
	err := Expect(c, readSeed, read)
	if err != nil {
		c.Close() // so that the writer ends too
	}
	werr := <-written
	switch {
	case err == nil, errors.Is(err, errCut) && errors.Is(werr, syscall.ECONNRESET):
		return werr
	case werr != nil:
		return fmt.Errorf("%w (and %v)", err, werr)
	}
	return err
}

// Duplex is a service in which both directions carry streams of their own, neither waiting for the other: sessions
// half-close in every order. Handle is the host's side, Run the client's.
type Duplex struct {
	MaxChunk int           // 0 = 64 KiB
	Late     time.Duration // how long Run writes before it begins to read

	mu   sync.Mutex
	good int
	errs []error
}

const duplexHeader = 24 // seed, bytes up, bytes down

// Run opens a session on a fresh connection, checks what comes down, and closes the connection. Sessions need seeds
// of their own.
func (d *Duplex) Run(c *net.TCPConn, seed uint64, up, down int64) error {
	var header [duplexHeader]byte
	binary.LittleEndian.PutUint64(header[0:], seed)
	binary.LittleEndian.PutUint64(header[8:], uint64(up))
	binary.LittleEndian.PutUint64(header[16:], uint64(down))
	if _, err := c.Write(header[:]); err != nil {
		c.Close()
		return err
	}
	return converse(c, seed, up, ^seed, down, d.maxChunk(), d.Late)
}

// Handle is the host's Handler.
func (d *Duplex) Handle(_ context.Context, c *net.TCPConn) {
	var header [duplexHeader]byte
	if _, err := io.ReadFull(c, header[:]); err != nil {
		return // a connection that carried no session
	}
	seed := binary.LittleEndian.Uint64(header[0:])
	up := int64(binary.LittleEndian.Uint64(header[8:]))
	down := int64(binary.LittleEndian.Uint64(header[16:]))
	err := converse(c, ^seed, down, seed, up, d.maxChunk(), 0)
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil {
		d.errs = append(d.errs, fmt.Errorf("session %#x, up: %w", seed, err))
	} else {
		d.good++
	}
}

// Good counts the sessions whose upward stream was whole.
func (d *Duplex) Good() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.good
}

// Errs returns what was wrong with the others.
func (d *Duplex) Errs() []error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]error(nil), d.errs...)
}

func (d *Duplex) maxChunk() int {
	if d.MaxChunk == 0 {
		return 64 << 10
	}
	return d.MaxChunk
}
