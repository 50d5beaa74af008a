package nettest

import (
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// dialTimeout leaves a busy machine time for several SYNs.
const dialTimeout = 15 * time.Second

// Dial connects, or fails the test. The connection is closed at the end of the test at the latest.
func Dial(t testing.TB, addr string) *net.TCPConn {
	t.Helper()
	c, err := TryDial(addr)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

// DialFrom is Dial from a given local address.
func DialFrom(t testing.TB, ip, addr string) *net.TCPConn {
	t.Helper()
	d := net.Dialer{Timeout: dialTimeout, LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}
	c, err := d.Dial("tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c.(*net.TCPConn)
}

// TryDial connects or returns the error. The caller closes the connection.
func TryDial(addr string) (*net.TCPConn, error) {
	c, err := (&net.Dialer{Timeout: dialTimeout}).Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}
