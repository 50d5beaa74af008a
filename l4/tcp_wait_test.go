package l4

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
)

// A socket that waits for a slot causes no events: not while it waits, and not after a shortage that it was paused for meanwhile.
func TestWaitingSocketDoesNotSpin(t *testing.T) {
	p := startPlane(t, nil, func(s *Settings) {
		s.WaitWhenFull, s.Admission.MaxSessions = true, 1
	}, nettest.Start(t, nettest.Greet("x", nettest.Echo)).Addr())
	served := nettest.Dial(t, p.addr)
	_, err := served.Read(make([]byte, 1))
	require.NoError(t, err)
	var waiting [8]interface{ Close() error }
	for i := range waiting { // at both loops' sockets
		waiting[i] = nettest.Dial(t, p.addr)
	}
	nettest.Wait(t, 5*time.Second, "all to wait", func() bool { return p.ln.Waiting() == len(waiting) })
	rounds := func() (n uint32) {
		p.runOnLoops(func(l *loop) {
			if l.index == 0 {
				n += l.rounds
			}
		})
		return n
	}
	for _, disturb := range []func(*loop){func(*loop) {}, (*loop).pauseForShortage, (*loop).resumeWaiting} {
		before := rounds()
		p.runOnLoops(disturb)
		time.Sleep(shortageBackoff + 2*waitRetry)
		require.Less(t, rounds()-before, uint32(100))
	}
	require.Equal(t, len(waiting), p.ln.Waiting())
	require.Equal(t, 1, p.ln.Settings().Admission.State.Sessions())
	served.Close()
	nettest.Wait(t, 5*time.Second, "another one to be served", func() bool { return p.ln.Waiting() == len(waiting)-1 })
	for _, c := range waiting {
		c.Close()
	}
	nettest.Wait(t, 5*time.Second, "no sessions", func() bool { return p.Sessions() == 0 && p.ln.Settings().Admission.State.Sessions() == 0 })
}

// Sessions of the old process of an upgrade hold slots until they arrive or end there.
func TestAwaitedSessionsHoldSlots(t *testing.T) {
	one, g := netip.MustParseAddr("10.0.0.1"), NewAdmissionState(false, 64)
	a := Admission{State: g, MaxSessions: 3}
	g.Await(3)
	_, why := a.acquire(one, nil, 0)
	require.Equal(t, RejectedMaxSessions, why)
	arrived := a.acquireUnchecked(one)
	require.Equal(t, 3, g.Sessions(), "it was counted before")
	g.StillAwait(5)
	require.Equal(t, 3, g.Sessions(), "an old count changes nothing")
	g.StillAwait(1)
	require.Equal(t, 2, g.Sessions(), "one has ended there")
	held, why := a.acquire(one, nil, 0)
	require.Equal(t, Admitted, why)
	g.StillAwait(0)
	require.Equal(t, 2, g.Sessions())
	late := a.acquireUnchecked(one) // admitted there in the meantime
	require.Equal(t, 3, g.Sessions())
	for _, claim := range []admissionClaim{arrived, held, late} {
		a.release(&claim, one)
	}
	require.Zero(t, g.Sessions())
}
