package l4

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
)

func TestDial(t *testing.T) {
	echo := nettest.Start(t, nettest.Echo).Addr()
	dead := nettest.Reserve(t)
	t.Run("a refused dial goes on to the next server", func(t *testing.T) {
		p := startPlane(t, nil, nil, dead, echo)
		require.NoError(t, nettest.Exchange(nettest.Dial(t, p.addr), 1, 100, 10))
		r := p.ended()
		require.Equal(t, []any{2, "1", ReasonClientClosed}, []any{r.Attempts, r.Server, r.Reason})
	})
	t.Run("every server refuses", func(t *testing.T) {
		p := startPlane(t, nil, nil, dead)
		require.Equal(t, nettest.Reset, clientEnd(p.addr, nil))
		r := p.ended()
		require.Equal(t, []any{1, PhaseDial, ReasonRefused}, []any{r.Attempts, r.Phase, r.Reason})
	})
	t.Run("connect_timeout", func(t *testing.T) {
		p := startPlane(t, newTestClock(), nil, nettest.FullBacklog(t), echo)
		c := nettest.Dial(t, p.addr)
		nettest.Wait(t, 5*time.Second, "the dial to begin", func() bool {
			list := p.List(1)
			return len(list) == 1 && list[0].Phase == PhaseDial && list[0].Server == "0"
		})
		p.advance(10*time.Second - 2*time.Millisecond)
		require.Equal(t, "0", p.List(1)[0].Server, "given up before its time")
		p.advance(10 * time.Millisecond)
		require.NoError(t, nettest.Exchange(c, 1, 100, 10))
		require.Equal(t, 2, p.ended().Attempts)
	})
	t.Run("try_timeout", func(t *testing.T) {
		p := startPlane(t, newTestClock(), func(s *Settings) { s.TryTimeout = time.Second }, nettest.FullBacklog(t), echo)
		c := nettest.Dial(t, p.addr)
		nettest.Wait(t, 5*time.Second, "the dial to begin", func() bool {
			list := p.List(1)
			return len(list) == 1 && list[0].Phase == PhaseDial
		})
		p.advance(2 * time.Second)
		require.Equal(t, ReasonTryTimeout, p.ended().Reason)
		_, end := nettest.ReadToEnd(c, 5*time.Second)
		require.Equal(t, nettest.Reset, end)
	})
	t.Run("the client resets while dialling", func(t *testing.T) {
		p := startPlane(t, nil, nil, nettest.FullBacklog(t))
		c := nettest.Dial(t, p.addr)
		nettest.Wait(t, 5*time.Second, "the dial to begin", func() bool {
			list := p.List(1)
			return len(list) == 1 && list[0].Phase == PhaseDial
		})
		nettest.Abort(c)
		r := p.ended()
		require.Equal(t, []any{PhaseDial, ReasonClientReset}, []any{r.Phase, r.Reason})
	})
}
