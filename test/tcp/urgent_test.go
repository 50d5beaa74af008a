package tcp_test

import (
	"bytes"
	"context"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// urgently sends a text with an urgent byte in the middle, without a pause.
func urgently(c *net.TCPConn, half []byte) error {
	if _, err := c.Write(half); err != nil {
		return err
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var sent error
	err = raw.Write(func(fd uintptr) bool {
		sent = syscall.Sendto(int(fd), []byte("U"), syscall.MSG_OOB, nil)
		return sent != syscall.EAGAIN
	})
	for _, e := range []error{err, sent} {
		if e != nil {
			return e
		}
	}
	if _, err = c.Write(half); err != nil {
		return err
	}
	return c.CloseWrite()
}

// An urgent byte ends no stream, however large the transfer is and whenever it comes: the bytes behind it arrive, and
// it keeps its position.
func TestUrgentByteInLargeTransfer(t *testing.T) {
	t.Parallel()
	half := bytes.Repeat([]byte("x"), 500_000)
	want := len(half)*2 + 1
	var up, down = make(chan int, 1), nettest.Start(t, func(_ context.Context, c *net.TCPConn) { urgently(c, half); nettest.ReadToEnd(c, 20*time.Second) })
	sink := nettest.Start(t, func(_ context.Context, c *net.TCPConn) {
		data, _ := nettest.ReadToEnd(c, 20*time.Second)
		up <- len(data)
	})
	_, fromClient := weirtest.Serve(t, weirtest.Config{Levels: weirtest.OneLevel(sink.Addr())})
	_, fromServer := weirtest.Serve(t, weirtest.Config{Levels: weirtest.OneLevel(down.Addr())})
	for range 20 {
		c := nettest.Dial(t, fromClient)
		require.NoError(t, urgently(c, half))
		require.Equal(t, want, <-up)
		c.Close()

		c = nettest.Dial(t, fromServer)
		data, end := nettest.ReadToEnd(c, 20*time.Second)
		require.Equal(t, nettest.EOF, end)
		require.Len(t, data, want)
		c.Close()
	}
}
