// Handlers: the behaviours of TCP hosts.

package nettest

import (
	"context"
	"io"
	"net"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Echo sends back every byte, and a FIN after the last one.
func Echo(_ context.Context, c *net.TCPConn) {
	buf := make([]byte, 32<<10)
	for {
		n, err := c.Read(buf)
		if n > 0 {
			if _, err := c.Write(buf[:n]); err != nil {
				return
			}
		}
		if err == io.EOF {
			c.CloseWrite()
			return
		}
		if err != nil {
			return
		}
	}
}

// Silent reads everything, writes nothing, and keeps its side open even after the client's FIN.
func Silent(ctx context.Context, c *net.TCPConn) {
	if _, err := discard(c); err != nil {
		return
	}
	<-ctx.Done()
}

// Discard reads everything, writes nothing, and closes at the client's FIN.
func Discard(_ context.Context, c *net.TCPConn) { discard(c) }

// NeverRead does not read: arriving bytes stay in the kernel's buffers.
func NeverRead(ctx context.Context, _ *net.TCPConn) { <-ctx.Done() }

// Greet writes a banner first and then behaves like next.
func Greet(banner string, next Handler) Handler {
	return func(ctx context.Context, c *net.TCPConn) {
		if _, err := io.WriteString(c, banner); err == nil {
			next(ctx, c)
		}
	}
}

// SendText writes a text, closes its side at once and waits for the client's FIN.
func SendText(text string) Handler {
	return Greet(text, func(_ context.Context, c *net.TCPConn) {
		c.CloseWrite()
		discard(c)
	})
}

// Send writes n bytes of Pattern(seed), closes its side and waits for the client's FIN.
func Send(seed uint64, n int64) Handler {
	return func(_ context.Context, c *net.TCPConn) {
		if _, err := copyPlain(c, io.LimitReader(Pattern(seed), n)); err != nil {
			return
		}
		c.CloseWrite()
		discard(c)
	}
}

// ResetAfter sends n bytes, pauses and resets the connection.
func ResetAfter(n int, pause time.Duration) Handler {
	return func(ctx context.Context, c *net.TCPConn) {
		if _, err := copyPlain(c, io.LimitReader(Pattern(0), int64(n))); err == nil {
			sleep(ctx, pause)
			Abort(c)
		}
	}
}

// ResetWhenTaken sends n bytes, waits until the peer's kernel has all of them, pauses and resets the connection: a reset
// discards what is still on its way.
func ResetWhenTaken(n int, pause time.Duration) Handler {
	return func(ctx context.Context, c *net.TCPConn) {
		if _, err := copyPlain(c, io.LimitReader(Pattern(0), int64(n))); err != nil {
			return
		}
		for unsent(c) > 0 {
			if !sleep(ctx, time.Millisecond) {
				return
			}
		}
		sleep(ctx, pause)
		Abort(c)
	}
}

// unsent returns how many written bytes the peer's kernel has not acknowledged; 0 if the connection is closed.
func unsent(c *net.TCPConn) (n int) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0
	}
	raw.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) })
	return n
}

// ResetAfterReading reads n bytes, pauses and resets the connection, without having written anything.
func ResetAfterReading(n int, pause time.Duration) Handler {
	return func(ctx context.Context, c *net.TCPConn) {
		if _, err := copyPlain(io.Discard, io.LimitReader(c, int64(n))); err == nil {
			sleep(ctx, pause)
			Abort(c)
		}
	}
}

// CountToEOF reads to the client's FIN, pauses, and replies with the number of bytes in decimal.
func CountToEOF(pause time.Duration) Handler {
	return func(ctx context.Context, c *net.TCPConn) {
		n, err := discard(c)
		if err == nil && sleep(ctx, pause) {
			io.WriteString(c, strconv.FormatInt(n, 10))
		}
	}
}

// TrickleAfterEOF reads to the client's FIN and then writes n bytes, one per gap.
func TrickleAfterEOF(n int, gap time.Duration) Handler {
	return func(ctx context.Context, c *net.TCPConn) {
		if _, err := discard(c); err != nil {
			return
		}
		for range n {
			if !sleep(ctx, gap) {
				return
			}
			if _, err := c.Write([]byte{'.'}); err != nil {
				return
			}
		}
	}
}

// Trickle writes n bytes, one per gap, without reading, and then closes.
func Trickle(n int, gap time.Duration) Handler {
	return func(ctx context.Context, c *net.TCPConn) {
		for range n {
			if !sleep(ctx, gap) {
				return
			}
			if _, err := c.Write([]byte{'.'}); err != nil {
				return
			}
		}
	}
}

// SlowRead reads at most n bytes per gap and closes at the client's FIN.
func SlowRead(n int, gap time.Duration) Handler {
	return func(ctx context.Context, c *net.TCPConn) {
		buf := make([]byte, n)
		for sleep(ctx, gap) {
			if _, err := c.Read(buf); err != nil {
				return
			}
		}
	}
}

// Pause leaves a connection untouched for a while and then behaves like next.
func Pause(d time.Duration, next Handler) Handler {
	return func(ctx context.Context, c *net.TCPConn) {
		if sleep(ctx, d) {
			next(ctx, c)
		}
	}
}

// Abort closes a connection with a reset instead of a FIN.
func Abort(c *net.TCPConn) {
	c.SetLinger(0)
	Close(c)
}

// Close closes a connection or another socket and makes the kernel end it at once. A process that is being started
// holds a copy of the descriptor until it executes its program, which can take a while on a busy machine.
func Close(c io.Closer) error {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	return c.Close()
}

func discard(c *net.TCPConn) (int64, error) { return copyPlain(io.Discard, c) }

// copyPlain is io.Copy without splice, whose pooled pipes would count as leaked descriptors.
func copyPlain(w io.Writer, r io.Reader) (int64, error) {
	return io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{r}, make([]byte, 32<<10))
}

// sleep sleeps and reports whether the context has not ended.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
