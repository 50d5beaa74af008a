package admin

import (
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What arrives during a pause of the process longer than the deadline is read; a deadline that ends a read does so.
func TestLateConnReadsWhatHasArrived(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	client, err := net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	defer client.Close()
	conn, err := ln.Accept()
	require.NoError(t, err)
	c := &lateConn{Conn: conn}
	defer c.Close()
	p := make([]byte, 8)

	require.NoError(t, c.SetReadDeadline(time.Now().Add(-time.Second)))
	_, err = c.Read(p)
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	_, err = client.Write([]byte("late"))
	require.NoError(t, err)
	require.Eventually(t, func() bool { n, err := c.Read(p); return err == nil && string(p[:n]) == "late" }, 5*time.Second, time.Millisecond)

	require.NoError(t, c.SetReadDeadline(time.Unix(1, 0)))
	_, err = client.Write([]byte("more"))
	require.NoError(t, err)
	require.Never(t, func() bool { _, err := c.Read(p); return err == nil }, 50*time.Millisecond, time.Millisecond)

	require.NoError(t, c.SetDeadline(time.Now().Add(-time.Second)))
	n, err := c.Read(p)
	require.NoError(t, err)
	require.Equal(t, "more", string(p[:n]))
	require.NoError(t, client.Close())
	require.Eventually(t, func() bool { _, err := c.Read(p); return err == io.EOF }, 5*time.Second, time.Millisecond)
}
