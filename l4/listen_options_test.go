package l4

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"weir/internal/nettest"
)

// quickAck reports whether the kernel acknowledges what a socket receives at once.
func quickAck(t *testing.T, fd int32) bool {
	t.Helper()
	on, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_QUICKACK)
	require.NoError(t, err)
	return on == 1
}

// quickAcks returns quickAck of the client's and the server's side of a session that has sent one byte to its server, or nil.
func (p *testPlane) quickAcks() (sides []bool) {
	p.runOnLoops(func(l *loop) {
		l.eachSession(func(s *session) {
			if s.phase == PhaseRelay && s.up.bytes == 1 {
				sides = []bool{quickAck(p.t, s.client.fd), quickAck(p.t, s.server.fd)}
			}
		})
	})
	return sides
}

// The first bytes of a session are acknowledged by what is sent back, or 5 ms after the beginning of the relay.
func TestAcknowledgementsAreDelayedForFiveMilliseconds(t *testing.T) {
	clock := newTestClock()
	p := startPlane(t, clock, nil, nettest.Start(t, nettest.Discard).Addr())
	c := nettest.Dial(t, p.addr)
	_, err := c.Write([]byte("x"))
	require.NoError(t, err)
	nettest.Wait(t, 5*time.Second, "the relay", func() bool { return p.quickAcks() != nil })
	require.False(t, p.quickAcks()[0])
	p.advance(ackDelay)
	require.Equal(t, []bool{true, true}, p.quickAcks())
	require.NoError(t, c.Close())
	p.ended()
}

// A session that has waited before its relay acknowledges its client at once.
func TestAcknowledgementsAreNotDelayedAfterSlowDial(t *testing.T) {
	clock := newTestClock()
	addr, accept := nettest.FullBacklogUntil(t)
	p := startPlane(t, clock, nil, addr)
	c := nettest.Dial(t, p.addr)
	_, err := c.Write([]byte("x"))
	require.NoError(t, err)
	nettest.Wait(t, 5*time.Second, "the session", func() bool { return p.Sessions() == 1 })
	p.advance(ackDelay)
	accept()
	nettest.Wait(t, 5*time.Second, "the relay", func() bool { return p.quickAcks() != nil })
	require.True(t, p.quickAcks()[0])
}

// Bytes at which weir only peeks are acknowledged when they arrive. A reload changes that.
func TestPeekedBytesAreAcknowledgedAtOnce(t *testing.T) {
	p := startPlane(t, nil, func(s *Settings) { s.AcceptProxy = true })
	require.True(t, quickAck(t, p.ln.fds[0]))
	plain := *p.ln.Settings()
	plain.AcceptProxy = false
	p.ln.Update(&plain)
	require.False(t, quickAck(t, p.ln.fds[0]))
	routed := plain
	routed.Routes = &Routes{Hello: true}
	p.ln.Update(&routed)
	require.True(t, quickAck(t, p.ln.fds[0]))
}

// A reload sets the options of listen sockets.
func TestListenOptionsFollowReload(t *testing.T) {
	p := startPlane(t, nil, func(s *Settings) { s.DeferAccept, s.FastOpen = true, 16 })
	options := func() [2]bool {
		deferred, err := unix.GetsockoptInt(int(p.ln.fds[0]), unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT)
		require.NoError(t, err)
		fast, err := unix.GetsockoptInt(int(p.ln.fds[0]), unix.IPPROTO_TCP, unix.TCP_FASTOPEN)
		require.NoError(t, err)
		return [2]bool{deferred > 0, fast > 0}
	}
	require.Equal(t, [2]bool{true, true}, options())
	plain := *p.ln.Settings()
	plain.DeferAccept, plain.FastOpen = false, 0
	p.ln.Update(&plain)
	require.Equal(t, [2]bool{}, options())
}
