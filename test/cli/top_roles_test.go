package cli_test

import (
	"fmt"
	"testing"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// weir top shows the primary of a cluster with a topology and the role of each server.
func TestTopShowsRoles(t *testing.T) {
	t.Parallel()
	a, b := nettest.Start(t, nettest.Echo), nettest.Start(t, nettest.Echo)
	s := nettest.StartFakeSentinel(t, nettest.MasterName, nettest.SentinelAt(a.Addr(), 1))
	w, _, api := weirtest.ServeAPI(t, weirtest.Config{
		Levels: weirtest.OneLevel(a.Addr()+" name=A", b.Addr()+" name=B"),
		Cluster: fmt.Sprintf("[cluster.c.topology]\ntype = \"sentinel\"\nmaster = %q\nsentinels = [%q]\ninterval = \"200ms\"\ntimeout = \"100ms\"\n",
			nettest.MasterName, s.Addr()),
	})
	w.Baseline = nil // the connections to the Sentinel
	top := startTop(t, api)
	top.shows("c: primary A (sentinel: primary is ")
	top.shows("STATE   ROLE")
	top.shows("up      primary")
	s.Switch(nettest.SentinelAt(b.Addr(), 2))
	top.shows("c: primary B (sentinel: primary is ")
	top.shows("standby other")
	top.press("/other\r")
	top.shows("1 servers, by file, matching other")
	top.press("q")
	top.exits()
}
