package cli_test

import (
	"fmt"
	"testing"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// weir top shows the nodes of a fleet. One with a TCP address answers for itself.
func TestTopShowsFleet(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	store := nettest.StartEtcd(t, 1).URLs()[0]
	start := func(name string, addresses ...string) weirtest.API {
		a := weirtest.NewAPI(t)
		w := weirtest.Start(t, a.AddTo(weirtest.Config{
			Listen: nettest.Reserve(t), Levels: weirtest.OneLevel(host.Addr() + " name=A"),
			More: fmt.Sprintf("[fleet]\nendpoints = [%q]\nprefix = \"/weir/test\"\nnode = %q\nttl = \"2s\"\n", store, name),
		}.String(), addresses...))
		w.Baseline = nil // the connections to the store come and go
		return a
	}
	a, b := start("n1"), start("n2", nettest.Reserve(t))
	s := startTop(t, a)
	s.shows("f fleet")
	s.press("f")
	s.shows("2 nodes in /weir/test")
	s.shows("this node")
	s.shows("  none  node") // n2 has no problems, and has said so itself
	b.MustRunCommand("node", "drain", "--reason", "new kernel")
	s.shows("n2: drained: new kernel")
	s.shows("1 drained")
	s.press("\x1b")
	s.shows("CLUSTER/SERVER")
	s.press("q")
	s.exits()
}
