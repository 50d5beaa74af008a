package engine_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
)

// A reload is rejected whose server is a listener by a resolved name. If a name begins to resolve to a listener, sessions
// that come back are rejected, counted and reported once.
func TestLoopThroughName(t *testing.T) {
	t.Parallel()
	_, aName := startNamed(t, "A")
	s := startScript(t, cluster("", aName))
	at := netip.MustParseAddrPort(s.listen)
	self := fmt.Sprintf("self.test:%d", at.Port())
	s.names.set("self.test", at.Addr().String())
	require.ErrorContains(t, s.tryReload(cluster(often, aName+", "+self)), "listener[0].address: cluster c: server "+self+" points back to listener l")
	require.Equal(t, "AA", s.requests(2))

	s.names.set("self.test", "127.0.0.99")
	s.reload(cluster(often, self))
	s.names.set("self.test", at.Addr().String())
	nettest.Wait(t, 5*time.Second, "the new address", func() bool {
		return len(s.logged(&s.lines, func(l line) bool { return l["msg"] == "host name resolved" })) > 0
	})
	require.Equal(t, "---", s.requests(3))
	nettest.Wait(t, 5*time.Second, "the rejections", func() bool { return s.countEvents("session_refused") > 0 })
	require.Less(t, len(s.logged(&s.records, func(line) bool { return true })), 10, "each session comes back at most once or twice")
	require.Len(t, s.logged(&s.lines, func(l line) bool {
		return l["msg"] == "connection rejected: it comes from a session of the same listener"
	}), 1)
}
