package handover

import (
	"bytes"
	"io"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// connPair returns both ends of a connection.
func connPair(t testing.TB) (a, b *Conn) {
	t.Helper()
	a, f, err := NewConn()
	require.NoError(t, err)
	t.Cleanup(a.Close)
	fd, err := unix.Dup(int(f.Fd()))
	require.NoError(t, err)
	f.Close()
	b, err = OpenConn(uintptr(fd))
	require.NoError(t, err)
	t.Cleanup(b.Close)
	return a, b
}

// Messages of all sizes arrive unchanged, each with its own descriptors.
func TestConnKeepsMessagesAndDescriptorsTogether(t *testing.T) {
	a, b := connPair(t)
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	defer w.Close()
	fd := int32(w.Fd())
	sizes := []struct{ bytes, fds int }{{0, 0}, {0, 1}, {1, 0}, {10, MaxDescriptors}, {1 << 20, 2}, {3, 0}, {200_000, MaxDescriptors}, {0, 7}}
	sent := make(chan error, 1)
	go func() {
		for i, s := range sizes {
			fds := make([]int32, s.fds)
			for j := range fds {
				fds[j] = fd
			}
			if err := a.Send(uint8(i), bytes.Repeat([]byte{byte(i)}, s.bytes), fds); err != nil {
				sent <- err
				return
			}
		}
		a.Close()
		sent <- nil
	}()
	for i, s := range sizes {
		f, err := b.Receive()
		require.NoError(t, err)
		require.Equal(t, uint8(i), f.Kind)
		require.True(t, bytes.Equal(bytes.Repeat([]byte{byte(i)}, s.bytes), f.Body))
		require.Len(t, f.Descriptors, s.fds)
		for _, fd := range f.Descriptors { // each works
			_, err := unix.Write(int(fd), []byte{'.'})
			require.NoError(t, err)
		}
		f.Close()
	}
	_, err = b.Receive()
	require.ErrorIs(t, err, io.EOF)
	require.NoError(t, <-sent)
}

// A header that exceeds a limit is rejected before memory is allocated for its body.
func TestConnRejectsMalformedHeaders(t *testing.T) {
	for _, head := range [][]byte{
		{0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0}, // too long
		{0, 0, 0, 0, 1, 0, 0, 1},             // a descriptor that was not sent
		{0, 0, 0, 0, 1, 0, 0xff, 0xff},       // too many
		{0, 0, 0, 0, 1, 9, 0, 0},             // the reserved byte
	} {
		a, b := connPair(t)
		_, err := a.conn.Write(head)
		require.NoError(t, err)
		_, err = b.Receive()
		require.ErrorIs(t, err, ErrMalformed)
	}
	a, b := connPair(t)
	_, err := a.conn.Write([]byte{0, 0, 0, 9, 1, 0, 0, 0, 'x'})
	require.NoError(t, err)
	a.Close()
	_, err = b.Receive()
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
}

// A process that was stopped until the deadline of a reply was over still receives the reply that arrived in time.
func TestConnReceivesWhatArrivedByDeadline(t *testing.T) {
	ours, theirs := connPair(t)
	body := bytes.Repeat([]byte("x"), 100<<10) // more than one read
	require.NoError(t, theirs.Send(kindReady, body, nil))
	ours.SetDeadline(time.Now().Add(-time.Second))
	m, err := ours.Receive()
	require.NoError(t, err)
	require.Equal(t, body, m.Body)
	ours.SetDeadline(time.Now().Add(-time.Second))
	_, err = ours.Receive()
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.NoError(t, theirs.Send(kindReady, body, nil))
	ours.Interrupt()
	_, err = ours.Receive()
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
}
