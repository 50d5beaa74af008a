package upgrade_test

import (
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// counted counts what is read.
type counted struct {
	net.Conn
	n atomic.Int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// Sessions with a limit of their rate continue after upgrades, in the middle of a pause, with every byte and at the same rate:
// no upgrade brings a burst, and the new limits of the listener apply to new sessions only.
func TestUpgradesOfPacedSessions(t *testing.T) {
	t.Parallel()
	const rate, burst, n = 300_000, 64 << 10, 1_500_000
	sends, counts := nettest.Start(t, nettest.Send(9, n)), nettest.Start(t, nettest.CountToEOF(0))
	up := nettest.Reserve(t)
	l := weirtest.Config{Listen: nettest.Reserve(t), Listener: fmt.Sprintf("max_rate_down = %d", rate), Levels: weirtest.OneLevel(sends.Addr())}
	tables := weirtest.ListenerTables("up", up, counts.Addr())
	l.More = fmt.Sprintf("[[listener]]\nmax_rate_up = %d\n%s", rate, tables[len("[[listener]]\n"):])
	w := weirtest.Options{Program: weirtest.CopyProgram(t)}.Start(t, l.String())

	begin := time.Now()
	down := &counted{Conn: nettest.Dial(t, l.Listen)}
	received := make(chan error, 1)
	go func() { received <- nettest.Expect(down, 9, n) }()
	c := nettest.Dial(t, up)
	go func() {
		io.Copy(c, io.LimitReader(nettest.Pattern(1), n))
		c.CloseWrite()
	}()
	counted := make(chan string, 1)
	go func() {
		got, _ := nettest.ReadToEnd(c, time.Minute)
		counted <- string(got)
	}()
	l.Listener, l.More = "", tables
	w.WriteConfig(l.String())
	for i := range int64(4) {
		nettest.Wait(t, 30*time.Second, "bytes before an upgrade", func() bool { return down.n.Load() >= burst+i*rate/2 })
		w.Upgrade()
		allowed := burst + int64(time.Since(begin).Seconds()*rate) + 1
		require.LessOrEqual(t, down.n.Load(), allowed)
	}
	require.NoError(t, <-received)
	shortest := time.Duration(n-burst) * time.Second / rate
	require.GreaterOrEqual(t, time.Since(begin), shortest-time.Millisecond)
	require.Equal(t, fmt.Sprint(n), <-counted)
	require.GreaterOrEqual(t, time.Since(begin), shortest-time.Millisecond)
	require.Less(t, nettest.Elapsed(begin), weirtest.Bound(2*shortest), "an upgrade makes no session slow")
	require.Equal(t, 4, w.SuccessorCount())

	begin = time.Now()
	require.NoError(t, nettest.Expect(nettest.Dial(t, l.Listen), 9, n))
	require.Less(t, nettest.Elapsed(begin), shortest, "a new session has the new limits")
}
