package reload_test

import (
	"fmt"
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
	weirtest.WithTime(t, 2*time.Second, listenerReturns)
}

func listenerReturns(t *testing.T, drain time.Duration) (inTime bool) {
	host := nettest.Start(t, nettest.Greet("x", nettest.Silent))
	addr := nettest.Reserve(t)
	l := weirtest.Config{Listen: nettest.Reserve(t), Runtime: fmt.Sprintf("drain_timeout = %q", drain), Levels: weirtest.OneLevel(host.Addr())}
	without := l.String()
	l.More = strings.Replace(weirtest.ListenerTables("x", addr, host.Addr()), "cluster =", "max_sessions = 1\ncluster =", 1)
	w := weirtest.Start(t, l.String())
	c := nettest.Dial(t, addr)
	weirtest.ReadByte(t, c)

	begin := time.Now()
	w.Reload(without)
	left := time.Now()
	w.Reload(l.String())
	if time.Since(begin) >= drain {
		host.Reset()
		return false
	}
	_, served := weirtest.DialServed(t, addr, 5*time.Second)
	require.False(t, served, "the session of before holds the only slot")
	_, end := nettest.ReadToEnd(c, time.Until(left.Add(drain+time.Second)))
	require.Equal(t, nettest.Timeout, end, "the session is not cut at the deadline")
	nettest.Abort(c)
	nettest.Wait(t, 15*time.Second, "the slot to be free", func() bool {
		_, served := weirtest.DialServed(t, addr, 15*time.Second)
		return served
	})
	host.Reset()
	return true
}
