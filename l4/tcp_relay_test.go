package l4

import (
	"io"
	"net"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
)

// send writes n bytes of a pattern and closes the client's side.
func send(t *testing.T, c *net.TCPConn, n int64) {
	t.Helper()
	_, err := io.Copy(c, io.LimitReader(nettest.Pattern(1), n))
	require.NoError(t, err)
	require.NoError(t, c.CloseWrite())
}

func TestRelay(t *testing.T) {
	const bulk = 8 << 20
	for _, c := range []struct {
		name     string
		server   nettest.Handler
		client   func(*testing.T, *net.TCPConn)
		up, down uint64
		reason   Reason
		spliced  bool
	}{
		{"round trip", nettest.Echo, func(t *testing.T, c *net.TCPConn) {
			require.NoError(t, nettest.Exchange(c, 1, 1000, 100))
		}, 1000, 1000, ReasonClientClosed, false},
		{"bulk up", nettest.CountToEOF(0), func(t *testing.T, c *net.TCPConn) {
			send(t, c, bulk)
			got, end := nettest.ReadToEnd(c, 10*time.Second)
			require.Equal(t, nettest.EOF, end)
			require.Equal(t, strconv.Itoa(bulk), string(got))
		}, bulk, 7, ReasonClientClosed, true},
		{"bulk down", nettest.Send(2, bulk), func(t *testing.T, c *net.TCPConn) {
			require.NoError(t, nettest.Expect(c, 2, bulk))
		}, 0, bulk, ReasonServerClosed, true},
		{"bulk both ways", nettest.Echo, func(t *testing.T, c *net.TCPConn) {
			require.NoError(t, nettest.Exchange(c, 3, bulk, 256<<10))
		}, bulk, bulk, ReasonClientClosed, true},
		{"client half-closes before the answer", nettest.TrickleAfterEOF(5, time.Millisecond), func(t *testing.T, c *net.TCPConn) {
			send(t, c, 10)
			got, end := nettest.ReadToEnd(c, 10*time.Second)
			require.Equal(t, nettest.EOF, end)
			require.Len(t, got, 5)
		}, 10, 5, ReasonClientClosed, false},
		{"server half-closes before the request", nettest.SendText("banner"), func(t *testing.T, c *net.TCPConn) {
			got, end := nettest.ReadToEnd(c, 10*time.Second)
			require.Equal(t, nettest.EOF, end)
			require.Equal(t, "banner", string(got))
			send(t, c, 10)
		}, 10, 6, ReasonServerClosed, false},
		{"no byte", nettest.Echo, func(t *testing.T, c *net.TCPConn) { send(t, c, 0) }, 0, 0, ReasonClientClosed, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := startPlane(t, nil, nil, nettest.Start(t, c.server).Addr())
			for attempt := 1; ; attempt++ {
				conn := nettest.Dial(t, p.addr)
				c.client(t, conn)
				conn.CloseWrite()
				_, _ = nettest.ReadToEnd(conn, 30*time.Second)
				r := p.ended()
				require.Equal(t, c.reason, r.Reason)
				require.Equal(t, PhaseRelay, r.Phase)
				require.Equal(t, []uint64{c.up, c.down}, []uint64{r.BytesUp, r.BytesDown})
				if c.spliced == (p.pipes() > 0) {
					return
				}
				require.True(t, c.spliced && attempt < 5, "bytes of a slow sender are not spliced")
			}
		})
	}
}

// A server that does not read stops the client: no more is held than the buffers of the two sockets and one pipe.
func TestRelayAppliesBackpressure(t *testing.T) {
	p := startPlane(t, nil, func(s *Settings) { s.HalfClose = 100 * time.Millisecond }, nettest.Start(t, nettest.NeverRead).Addr())
	c := nettest.Dial(t, p.addr)
	require.NoError(t, c.SetWriteBuffer(64<<10))
	sent := 0
	for chunk := make([]byte, 64<<10); ; {
		require.NoError(t, c.SetWriteDeadline(time.Now().Add(500*time.Millisecond)))
		n, err := c.Write(chunk)
		if sent += n; err != nil {
			require.ErrorIs(t, err, os.ErrDeadlineExceeded)
			break
		}
	}
	require.Less(t, sent, 64<<20)
	require.Equal(t, 1, p.Sessions())
	nettest.Abort(c)
	require.Equal(t, ReasonClientReset, p.ended().Reason)
}

func TestIdleTimeouts(t *testing.T) {
	for _, c := range []struct {
		name      string
		timeout   time.Duration
		adjust    func(*Settings)
		halfClose bool
		reason    Reason
	}{
		{"client", time.Hour, func(s *Settings) { s.ClientIdle, s.ServerIdle = time.Hour, 2*time.Hour }, false, ReasonClientIdle},
		{"server", time.Minute, func(s *Settings) { s.ClientIdle, s.ServerIdle = time.Hour, time.Minute }, false, ReasonServerIdle},
		{"half-close", 30 * time.Second, nil, true, ReasonHalfClose},
	} {
		t.Run(c.name, func(t *testing.T) {
			var host nettest.Recorder
			host.StayOpen = true
			p := startPlane(t, newTestClock(), c.adjust, nettest.Start(t, host.Handle).Addr())
			conn := nettest.Dial(t, p.addr)
			_, err := conn.Write([]byte("x"))
			require.NoError(t, err)
			if c.halfClose {
				require.NoError(t, conn.CloseWrite())
				host.WaitEnd(t, 0, 5*time.Second)
			}
			nettest.Wait(t, 5*time.Second, "the byte to be relayed", func() bool {
				list := p.List(1)
				return len(list) == 1 && list[0].BytesUp == 1
			})
			p.advance(time.Second) // keepalive is set, and the kernel's queue has been looked at
			p.advance(c.timeout - time.Second - time.Millisecond)
			require.Equal(t, 1, p.Sessions(), "ended before its time")
			p.advance(time.Second)
			require.Equal(t, c.reason, p.ended().Reason)
			_, end := nettest.ReadToEnd(conn, 5*time.Second)
			require.Equal(t, nettest.Reset, end)
		})
	}
}
