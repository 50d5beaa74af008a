package l4

import (
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Protocol and address come from the socket itself.
func TestActivatedSocketIsInspected(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.sock")
	for _, c := range []struct{ network, address, protocol string }{
		{"tcp4", "127.0.0.1:0", "tcp"}, {"tcp6", "[::1]:0", "tcp"}, {"unix", path, "tcp"},
		{"udp4", "127.0.0.1:0", "udp"}, {"udp6", "[::1]:0", "udp"},
	} {
		var f *os.File
		var err error
		want := "unix:" + path
		if c.protocol == "udp" {
			conn, listened := net.ListenPacket(c.network, c.address)
			require.NoError(t, listened)
			defer conn.Close()
			f, err = conn.(*net.UDPConn).File()
			want = conn.LocalAddr().String()
		} else {
			ln, listened := net.Listen(c.network, c.address)
			require.NoError(t, listened)
			defer ln.Close()
			f, err = ln.(interface{ File() (*os.File, error) }).File()
			if c.network != "unix" {
				want = ln.Addr().String()
			}
		}
		require.NoError(t, err)
		a, err := NewActivatedSocket(f)
		require.NoError(t, err, c)
		require.Equal(t, c.protocol, a.Protocol)
		require.Equal(t, want, a.At.String())
		a.Close()
		a.Close()
	}
	file, err := os.Create(filepath.Join(t.TempDir(), "file"))
	require.NoError(t, err)
	_, err = NewActivatedSocket(file)
	require.Error(t, err)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	conn, err := net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	f, err := conn.(*net.TCPConn).File()
	require.NoError(t, err)
	_, err = NewActivatedSocket(f)
	require.ErrorContains(t, err, "not a listen socket")
}

func TestPlaneIsResponsiveWhileLoopsRun(t *testing.T) {
	p, err := Open(Options{Loops: 2})
	require.NoError(t, err)
	defer p.Close()
	require.True(t, p.Responsive(5*time.Second))
	stuck := make(chan struct{})
	p.loops[1].post(message{do: func(*loop) { <-stuck }})
	require.False(t, p.Responsive(50*time.Millisecond))
	close(stuck)
	require.True(t, p.Responsive(5*time.Second))
}
