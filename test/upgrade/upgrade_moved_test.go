package upgrade_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// A server that moves under its name keeps its sessions at the old address until the drain deadline, also if an upgrade comes
// between, or the move comes with the upgrade. The sessions count for it, and one that is at the address when the server returns
// there is not cut.
func TestUpgradeAfterServerMoved(t *testing.T) {
	t.Parallel()
	const drain = 4 * time.Second
	for _, c := range []struct {
		name            string
		before, upgrade bool // the server moves with a reload before the upgrade, or with the upgrade
		returns         bool
	}{
		{"reload before", true, false, false},
		{"with the upgrade", false, true, false},
		{"returns", true, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			old, moved := nettest.Start(t, nettest.Greet("A", nettest.Echo)), nettest.Start(t, nettest.Greet("B", nettest.Echo))
			l := weirtest.Config{Listen: nettest.Reserve(t), Runtime: `drain_timeout = "4s"`, Levels: weirtest.OneLevel(old.Addr() + " name=a")}
			there := l
			there.Levels = weirtest.OneLevel(moved.Addr() + " name=a")
			api := weirtest.NewAPI(t)
			w := weirtest.Options{Program: weirtest.CopyProgram(t)}.Start(t, api.AddTo(l.String()))
			session := nettest.Dial(t, l.Listen)
			require.Equal(t, "A", weirtest.ReadByte(t, session))

			var left time.Time
			if c.before {
				w.Reload(api.AddTo(there.String()))
				left = time.Now()
				nettest.Wait(t, 5*time.Second, "some time to pass", func() bool { return time.Since(left) > drain/4 })
			} else {
				w.WriteConfig(api.AddTo(there.String()))
			}
			if !c.before {
				left = time.Now() // at the latest when the new process takes over
			}
			w.Upgrade()
			next := nettest.Dial(t, l.Listen)
			require.Equal(t, "B", weirtest.ReadByte(t, next))
			require.EqualValues(t, 2, api.Server("a")["sessions"])
			require.NoError(t, weirtest.PingPong(session))
			if c.returns {
				w.Upgrade()
				require.EqualValues(t, 2, api.Server("a")["sessions"])
				w.Reload(api.AddTo(l.String()))
				require.Less(t, nettest.Elapsed(left), drain, "the server returned too late for the test")
				nettest.Wait(t, 15*time.Second, "the session at the other address to be cut", func() bool { return weirtest.PingPong(next) != nil })
				require.NoError(t, weirtest.PingPong(session))
				require.EqualValues(t, 1, api.Server("a")["sessions"])
				session.Close()
				return
			}
			_, end := nettest.ReadToEnd(session, 15*time.Second)
			require.Equal(t, nettest.Reset, end)
			require.GreaterOrEqual(t, time.Since(left), drain-50*time.Millisecond)
			require.Less(t, nettest.Elapsed(left), drain+weirtest.Bound(500*time.Millisecond))
			w.WaitRecord(5*time.Second, "the record of the cut", func(r weirtest.Record) bool { return r.Termination() == "relay cut_server_removed" })
			require.NoError(t, weirtest.PingPong(next))
			require.EqualValues(t, 1, api.Server("a")["sessions"])
			next.Close()
		})
	}
}
