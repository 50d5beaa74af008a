package reload_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// A TCP listener and its cluster that return before their drain deadline take their sessions back: these count for limits
// and are not cut at that deadline.
func TestListenerThatReturnsKeepsItsSessions(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Greet("x", nettest.Silent))
	addr := nettest.Reserve(t)
	l := weirtest.Config{Listen: nettest.Reserve(t), Runtime: `drain_timeout = "2s"`, Levels: weirtest.OneLevel(host.Addr())}
	without := l.String()
	l.More = strings.Replace(weirtest.ListenerTables("x", addr, host.Addr()), "cluster =", "max_sessions = 1\ncluster =", 1)
	w := weirtest.Start(t, l.String())
	c := nettest.Dial(t, addr)
	weirtest.ReadByte(t, c)

	w.Reload(without)
	left := time.Now()
	w.Reload(l.String())
	require.Less(t, time.Since(left), 2*time.Second, "the listener returned too late for the test")
	_, served := weirtest.DialServed(t, addr, time.Second)
	require.False(t, served, "the session of before holds the only slot")
	_, end := nettest.ReadToEnd(c, time.Until(left.Add(3*time.Second)))
	require.Equal(t, nettest.Timeout, end, "the session is not cut at the deadline")
	nettest.Abort(c)
	_, served = weirtest.DialServed(t, addr, 5*time.Second)
	require.True(t, served, "the slot is free")
	host.Reset()
}
