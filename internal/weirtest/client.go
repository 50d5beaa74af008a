package weirtest

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
)

// patience is how long the helpers wait for what has no bound of its own.
const patience = 15 * time.Second

// ReadByte reads one byte.
func ReadByte(t *testing.T, r io.Reader) string {
	t.Helper()
	b := make([]byte, 1)
	_, err := io.ReadFull(r, b)
	require.NoError(t, err)
	return string(b)
}

// DialAndReadByte opens a session and returns its first byte.
func DialAndReadByte(t *testing.T, addr string) string {
	t.Helper()
	c := nettest.Dial(t, addr)
	defer c.Close()
	c.SetReadDeadline(time.Now().Add(patience))
	return ReadByte(t, c)
}

func WriteText(c net.Conn, text string) error {
	_, err := io.WriteString(c, text)
	return err
}

// ReadSession opens a session, reads to its end, and returns the bytes and how it ended.
func ReadSession(addr string) (string, nettest.StreamEnd) {
	c, err := nettest.TryDial(addr)
	if err != nil {
		return "", nettest.StreamEndOf(err)
	}
	defer c.Close()
	data, end := nettest.ReadToEnd(c, patience)
	return string(data), end
}

// ReadSessions opens n sessions one after the other and returns the bytes of all, joined. A session without a byte adds
// a dash.
func ReadSessions(t *testing.T, addr string, n int) string {
	t.Helper()
	var b strings.Builder
	for range n {
		text, end := ReadSession(addr)
		if text == "" {
			t.Logf("a session was told nothing: %s", end)
			text = "-"
		} else {
			require.Equal(t, nettest.EOF, end)
		}
		b.WriteString(text)
	}
	return b.String()
}

// PingPong writes a byte and reads it back.
func PingPong(c net.Conn) error {
	c.SetDeadline(time.Now().Add(patience))
	defer c.SetDeadline(time.Time{})
	b := []byte{'x'}
	if _, err := c.Write(b); err != nil {
		return err
	}
	_, err := io.ReadFull(c, b)
	return err
}

// DialServed opens a session and reports whether it is served: whether its first byte arrives within the time. A
// rejection may be so quick that the connect fails; c is nil then. Otherwise c stays open until the test ends.
func DialServed(t *testing.T, addr string, within time.Duration) (c *net.TCPConn, served bool) {
	t.Helper()
	c, err := nettest.TryDial(addr)
	if err != nil {
		require.Equal(t, nettest.Reset, nettest.StreamEndOf(err), "%v", err)
		return nil, false
	}
	t.Cleanup(func() { c.Close() })
	c.SetReadDeadline(time.Now().Add(within))
	defer c.SetReadDeadline(time.Time{})
	_, err = c.Read(make([]byte, 1))
	return c, err == nil
}

// EchoOnce sends a short text and returns its echo.
func EchoOnce(t *testing.T, addr string) (string, nettest.StreamEnd) {
	t.Helper()
	c := nettest.Dial(t, addr)
	defer c.Close()
	require.NoError(t, WriteText(c, "hello"))
	require.NoError(t, c.CloseWrite())
	data, end := nettest.ReadToEnd(c, patience)
	return string(data), end
}

// DialUnix connects to a unix socket until the end of the test.
func DialUnix(t *testing.T, path string) net.Conn {
	t.Helper()
	c, err := net.Dial("unix", path)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}
