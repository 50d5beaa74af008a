package nettest

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// StreamEnd is how a stream stopped, as its reader saw it.
type StreamEnd string

// The ends a reader can see. Anything else is the error's own text.
const (
	EOF     StreamEnd = "eof"
	Reset   StreamEnd = "reset"
	Timeout StreamEnd = "timeout"
)

// StreamEndOf names the error that a read returned.
func StreamEndOf(err error) StreamEnd {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, io.EOF):
		return EOF
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return Reset
	case errors.Is(err, os.ErrDeadlineExceeded):
		return Timeout
	}
	return StreamEnd(err.Error())
}

// ReadToEnd reads until the stream stops or the time is over, and says which.
func ReadToEnd(c net.Conn, within time.Duration) ([]byte, StreamEnd) {
	c.SetReadDeadline(time.Now().Add(within))
	defer c.SetReadDeadline(time.Time{})
	data, err := io.ReadAll(c)
	if err == nil {
		err = io.EOF
	}
	return data, StreamEndOf(err)
}

// Wait polls until the condition holds and fails the test when it does not in time, the machine's own delays not counted.
// what completes "timed out waiting for".
func Wait(t testing.TB, within time.Duration, what string, cond func() bool) {
	t.Helper()
	begin := time.Now()
	for !cond() {
		if time.Since(begin) > within && Elapsed(begin) > within {
			t.Fatalf("timed out after %v waiting for %s (%v with the machine's own delays)", within, what, time.Since(begin))
		}
		time.Sleep(2 * time.Millisecond)
	}
}
