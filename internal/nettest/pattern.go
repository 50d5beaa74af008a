// Streams with known bytes, and the clients and hosts that verify them.

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

// Pattern returns an endless pseudo-random stream. Streams with different seeds have nothing in common, so a byte that
// is lost, repeated, moved or from another stream is noticed where it occurs.
func Pattern(seed uint64) io.Reader {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	return rand.NewChaCha8(key)
}

// ErrCorrupt is wrapped by errors of streams that ended cleanly but differ from what was sent: a wrong byte, an extra
// byte, or an early EOF.
var ErrCorrupt = errors.New("stream is corrupt")

// Expect reads n bytes of Pattern(seed) and then EOF. Errors that do not wrap ErrCorrupt are those of the reader.
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

// Exchange sends n bytes to an echo host in random chunks of 1 to maxChunk bytes, closes its side, and verifies that
// the same bytes and EOF are received. It closes the connection.
func Exchange(c *net.TCPConn, seed uint64, n int64, maxChunk int) error {
	return converse(c, seed, n, seed, n, maxChunk, 0)
}

// errCut is the kind of ErrCorrupt that a reset can look like.
var errCut = fmt.Errorf("cut short: %w", ErrCorrupt)

// converse writes one stream and verifies another at the same time, and closes the connection. If both fail, the reader's
// error counts, because it shows what arrived. But the kernel reports a reset once: if the writer got
// ECONNRESET (EPIPE would mean that a FIN arrived first), the reader only sees EOF.
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
		c.Close() // ends the writer
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

// Duplex is a service in which both directions carry independent streams, so sessions half-close in any order. Handle
// is the host's side, Run the client's.
type Duplex struct {
	MaxChunk int           // 0 = 64 KiB
	Late     time.Duration // how long Run writes before it begins to read

	mu   sync.Mutex
	good int
	errs []error
}

const duplexHeader = 24 // seed, bytes up, bytes down

// Run runs a session on a new connection, verifies the stream from the host, and closes the connection. Each session
// needs its own seed.
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

// Handle is the Handler of the host.
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

// Good returns how many sessions had a complete stream from the client.
func (d *Duplex) Good() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.good
}

// Errs returns the errors of the other sessions.
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
