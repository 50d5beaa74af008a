package l4

import (
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
)

func TestAbort(t *testing.T) {
	t.Run("server resets", func(t *testing.T) {
		p := startPlane(t, nil, nil, nettest.Start(t, nettest.ResetAfter(100_000, 100*time.Millisecond)).Addr())
		got, end := nettest.ReadToEnd(nettest.Dial(t, p.addr), 10*time.Second)
		require.Equal(t, nettest.Reset, end)
		require.Len(t, got, 100_000, "received bytes come before the reset")
		r := p.ended()
		require.Equal(t, ReasonServerReset, r.Reason)
		require.EqualValues(t, 100_000, r.BytesDown)
	})
	t.Run("client resets", func(t *testing.T) {
		var host nettest.Recorder
		p := startPlane(t, nil, nil, nettest.Start(t, host.Handle).Addr())
		c := nettest.Dial(t, p.addr)
		_, err := io.Copy(c, io.LimitReader(nettest.Pattern(1), 100_000))
		require.NoError(t, err)
		nettest.Wait(t, 5*time.Second, "the bytes to be relayed", func() bool {
			list := p.List(1)
			return len(list) == 1 && list[0].BytesUp == 100_000
		})
		nettest.Abort(c)
		conn := host.WaitEnd(t, 0, 5*time.Second)
		require.Equal(t, nettest.Reset, conn.End)
		require.EqualValues(t, 100_000, conn.Bytes)
		require.Equal(t, ReasonClientReset, p.ended().Reason)
	})
	t.Run("cut", func(t *testing.T) {
		var host nettest.Recorder
		host.Banner = "banner"
		p := startPlane(t, nil, nil, nettest.Start(t, host.Handle).Addr())
		c := nettest.Dial(t, p.addr)
		_, err := io.ReadFull(c, make([]byte, len(host.Banner)))
		require.NoError(t, err)
		require.True(t, p.CutID(p.List(1)[0].ID, ReasonCutOperator))
		_, end := nettest.ReadToEnd(c, 5*time.Second)
		require.Equal(t, nettest.Reset, end)
		require.Equal(t, nettest.Reset, host.WaitEnd(t, 0, 5*time.Second).End)
		require.Equal(t, ReasonCutOperator, p.ended().Reason)
	})
	t.Run("a client that does not read is given its time", func(t *testing.T) {
		p := startPlane(t, newTestClock(), nil, nettest.Start(t, nettest.ResetAfter(8<<20, 0)).Addr())
		c := nettest.Dial(t, p.addr)
		require.NoError(t, c.SetReadBuffer(4096))
		nettest.Wait(t, 5*time.Second, "the session to abort", func() bool {
			list := p.List(1)
			return len(list) == 1 && list[0].Phase == PhaseAbort
		})
		p.advance(29 * time.Second)
		require.Equal(t, 1, p.Sessions(), "half_close_timeout is not over")
		p.advance(31 * time.Second)
		p.advance(31 * time.Second) // bytes that the kernel acknowledged meanwhile may have extended it
		require.Equal(t, ReasonServerReset, p.ended().Reason)
	})
}
