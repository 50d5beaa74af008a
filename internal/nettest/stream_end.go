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

// StreamEnd is how a stream ended for its reader.
type StreamEnd string

// The ends that a reader can see. Other ends are the text of the error.
const (
	EOF     StreamEnd = "eof"
	Reset   StreamEnd = "reset"
	Timeout StreamEnd = "timeout"
)

// StreamEndOf returns the end for an error of a read.
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

// ReadToEnd reads until the stream ends or the time is over, and returns the bytes and the end.
func ReadToEnd(c net.Conn, within time.Duration) ([]byte, StreamEnd) {
	c.SetReadDeadline(time.Now().Add(within))
	defer c.SetReadDeadline(time.Time{})
	data, err := io.ReadAll(c)
	if err == nil {
		err = io.EOF
	}
	return data, StreamEndOf(err)
}

// Wait polls until cond is true and fails the test if that takes longer than within, without delays of the machine.
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
