package upgrade_test

import (
	"fmt"
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
	for _, c := range []struct {
		name            string
		before, returns bool // the server moves with a reload before the upgrade, or with the upgrade; it returns after it
	}{
		{"reload before", true, false},
		{"with the upgrade", false, false},
		{"returns", true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			weirtest.WithTime(t, 4*time.Second, func(t *testing.T, drain time.Duration) (inTime bool) {
				return serverMoves(t, drain, c.before, c.returns)
			})
		})
	}
}

func serverMoves(t *testing.T, drain time.Duration, before, returns bool) (inTime bool) {
	old, moved := nettest.Start(t, nettest.Greet("A", nettest.Echo)), nettest.Start(t, nettest.Greet("B", nettest.Echo))
	l := weirtest.Config{Listen: nettest.Reserve(t), Runtime: fmt.Sprintf("drain_timeout = %q", drain), Levels: weirtest.OneLevel(old.Addr() + " name=a")}
	there := l
	there.Levels = weirtest.OneLevel(moved.Addr() + " name=a")
	api := weirtest.NewAPI(t)
	w := weirtest.Options{Program: weirtest.CopyProgram(t)}.Start(t, api.AddTo(l.String()))
	session := nettest.Dial(t, l.Listen)
	require.Equal(t, "A", weirtest.ReadByte(t, session))

	begin := time.Now()
	var left time.Time // at the latest
	if before {
		w.Reload(api.AddTo(there.String()))
		left = time.Now()
		nettest.Wait(t, 2*drain, "some time to pass", func() bool { return time.Since(begin) > drain/4 })
	} else {
		w.WriteConfig(api.AddTo(there.String()))
	}
	w.Upgrade()
	if !before {
		left = time.Now()
	}
	next := nettest.Dial(t, l.Listen)
	require.Equal(t, "B", weirtest.ReadByte(t, next))
	count, alive := api.Server("a")["sessions"], weirtest.PingPong(session)
	if returns {
		w.Upgrade()
		count = api.Server("a")["sessions"]
		w.Reload(api.AddTo(l.String()))
	}
	if time.Since(begin) >= drain {
		return false
	}
	require.NoError(t, alive)
	require.EqualValues(t, 2, count)
	if returns {
		nettest.Wait(t, 4*drain, "the session at the other address to be cut", func() bool { return weirtest.PingPong(next) != nil })
		require.NoError(t, weirtest.PingPong(session))
		require.EqualValues(t, 1, api.Server("a")["sessions"])
		session.Close()
		return true
	}
	_, end := nettest.ReadToEnd(session, 4*drain)
	over := time.Now()
	require.Equal(t, nettest.Reset, end)
	require.GreaterOrEqual(t, over.Sub(begin), drain-5*time.Millisecond)
	require.Less(t, over.Sub(left)-nettest.StalledSince(left), drain+weirtest.Bound(500*time.Millisecond))
	w.WaitRecord(15*time.Second, "the record of the cut", func(r weirtest.Record) bool { return r.Termination() == "relay cut_server_removed" })
	require.NoError(t, weirtest.PingPong(next))
	require.EqualValues(t, 1, api.Server("a")["sessions"])
	next.Close()
	return true
}
