package l4

import (
	"bytes"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"weir/internal/proxy"
)

// If a socket takes only part of the header, or none of it, the rest is sent first and is not counted as session bytes.
func TestHeaderIsResumedWhenSocketIsFull(t *testing.T) {
	for _, full := range []bool{false, true} {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		require.NoError(t, err)
		defer unix.Close(fds[0])
		defer unix.Close(fds[1])
		require.NoError(t, unix.SetsockoptInt(fds[0], unix.SOL_SOCKET, unix.SO_SNDBUF, 1))
		filled := 0
		for {
			n, err := unix.Write(fds[0], make([]byte, 100))
			if err != nil {
				break
			}
			filled += n
		}
		if !full { // room for a part
			n, err := unix.Read(fds[1], make([]byte, 100))
			require.NoError(t, err)
			filled -= n
		}
		tlvs := append([]byte{0xe0, 0x0f, 0xe0}, make([]byte, 0x0fe0)...) // the header has almost the maximum length
		s := &session{dialer: &dialer{target: &Target{sendProxy: 2}, tlvs: tlvs}}
		s.set = &Settings{}
		s.client, s.server = socket{fd: -1}, socket{fd: int32(fds[0]), nodelay: true, writable: true}
		want := (&proxy.Header{Version: 2, TLVs: tlvs}).Append(nil)
		l := &loop{}
		s.sendHeader(l)
		require.False(t, s.server.writable)
		require.Equal(t, full, int(s.up.headerBytes) == len(want))
		require.Zero(t, s.up.received())

		var got []byte
		deliveries := 0
		for chunk := make([]byte, 700); len(got) < filled+len(want); deliveries++ {
			n, err := unix.Read(fds[1], chunk)
			require.NoError(t, err)
			got = append(got, chunk[:n]...)
			if s.up.holding() {
				s.server.writable = true
				s.up.flush(l, &s.server)
			}
		}
		require.Greater(t, deliveries, 2)
		require.True(t, bytes.Equal(want, got[filled:]))
		require.Zero(t, s.up.headerBytes)
		require.Zero(t, s.up.bytes)
		require.False(t, s.up.holding())
	}
}

// There are many sessions, and most are idle.
func TestSessionIsSmall(t *testing.T) {
	require.LessOrEqual(t, unsafe.Sizeof(session{}), uintptr(320))
}
