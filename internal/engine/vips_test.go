package engine_test

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/status"
)

// An event loop that does not respond takes the address away and makes the node unready, until it responds again.
func TestStalledLoop(t *testing.T) {
	s := startScript(t, cluster("protected = false\nmax_fails = 1\nfail_timeout = \"50ms\"", nettest.Reserve(t))+
		"[[vip]]\naddress = \"10.9.9.9/32\"\ninterface = \"none0\"\nhold = \"0s\"\n")
	wait := func(state, reason string) {
		t.Helper()
		var v status.VIP
		nettest.Wait(t, 30*time.Second, "the vip to be "+state, func() bool {
			v = s.e.Status().VIPs[0]
			return v.State == state
		})
		require.Equal(t, reason, v.Reason)
	}
	wait("failed", "")
	require.Equal(t, "no interface none0", s.e.Status().VIPs[0].Problem)
	require.NoError(t, s.e.CheckReady(""))

	s.mu.Lock() // the loop waits for it when it logs that the server has failed
	c, err := nettest.TryDial(s.listen)
	require.NoError(t, err)
	defer c.Close()
	nettest.Wait(t, 30*time.Second, "the loop to stall", func() bool { return s.e.CheckReady("") != nil })
	require.EqualError(t, s.e.CheckReady(""), "an event loop does not respond")
	wait("down", "an event loop does not respond")
	s.mu.Unlock()
	wait("failed", "")
	require.NoError(t, s.e.CheckReady(""))
}

// CheckReady names the first condition that is false.
func TestCheckReady(t *testing.T) {
	_, a := startNamed(t, "A")
	s := startScript(t, cluster("protected = false", a))
	require.NoError(t, s.e.CheckReady("c"))
	require.EqualError(t, s.e.CheckReady("d"), "cluster: no cluster d")
	require.NoError(t, s.e.Override("me", "c", "A", []byte(`{"state": "maint"}`)))
	require.EqualError(t, s.e.CheckReady("c"), "cluster c has no eligible server")
	require.NoError(t, s.e.CheckReady(""))
	_, err := s.e.DrainNode("me", []byte(`{"reason": 5}`))
	require.ErrorContains(t, err, "reason: want a text")
	for range 2 { // once more is no event
		n, err := s.e.DrainNode("me", []byte(`{"reason": "new kernel"}`))
		require.NoError(t, err)
		require.Equal(t, "drain new kernel me", n.State+" "+n.Reason+" "+n.By)
	}
	require.EqualError(t, s.e.CheckReady("c"), "node drained: new kernel")
	require.True(t, slices.ContainsFunc(s.e.Status().Problems, func(p status.Problem) bool {
		return p.Severity == status.Note && p.Text == "node drained by me" && p.Reason == "new kernel"
	}))
	require.Equal(t, "drain", s.e.SavedState().Node.State)
	_, err = s.e.ReadyNode("me", nil)
	require.NoError(t, err)
	require.Nil(t, s.e.SavedState().Node)
	require.Len(t, s.logged(&s.lines, func(l line) bool { return l["msg"] == "node" }), 2)
	s.stop()
	require.EqualError(t, s.e.CheckReady("c"), "weir is stopping")
}
