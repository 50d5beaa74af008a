package tcp_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// Nine thousand clients that send no header, or a byte of it per second, do not delay other clients. They are closed at
// proxy_timeout and reach no server.
func TestFloodOfSlowHeaders(t *testing.T) { // alone: it measures time
	const (
		attackers     = 9000
		headerTimeout = 4 * time.Second
		every         = 10 * time.Millisecond // a legitimate client
	)
	ns := nettest.NewNamespace(t)
	var served atomic.Int64
	host := ns.Start("127.0.0.1:0", func(ctx context.Context, c *net.TCPConn) {
		served.Add(1)
		nettest.Echo(ctx, c)
	})
	l := withListen(replaceText(proxied("", host.Addr()), `"20s"`, fmt.Sprintf("%q", headerTimeout)), "127.0.0.1:7000")
	w := weirtest.Options{Namespace: ns, DescriptorLimit: 20_000}.Start(t, l.String())

	dial := func(from string) (net.Conn, error) {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: 5 * time.Second}
		var c net.Conn
		var err error
		ns.Do(func() { c, err = d.DialContext(context.Background(), "tcp", l.Listen) })
		return c, err
	}
	legitimate := func(while func() bool) (took []time.Duration) {
		for len(took) == 0 || while() {
			began := time.Now()
			c, err := dial("127.0.0.9")
			require.NoError(t, err)
			_, err = io.WriteString(c, "PROXY TCP4 192.0.2.1 192.0.2.2 1234 5678\r\n")
			require.NoError(t, err)
			require.NoError(t, weirtest.PingPong(c))
			took = append(took, nettest.Elapsed(began))
			c.Close()
			time.Sleep(every - min(every, time.Since(began)))
		}
		return took
	}
	start := time.Now()
	usual := legitimate(func() bool { return time.Since(start) < time.Second })
	before := w.Process().RSS(t)
	conns := make([]net.Conn, attackers)
	var born [attackers]time.Time
	for i := range conns {
		c, err := dial(fmt.Sprintf("127.0.%d.1", 1+i%8))
		require.NoError(t, err)
		defer c.Close()
		conns[i], born[i] = c, time.Now()
	}
	memory := w.Process().RSS(t) - before
	t.Logf("%d bytes of memory for each of %d clients", memory/attackers, attackers)
	if !weirtest.RaceEnabled {
		require.Less(t, memory/attackers, int64(1500))
	}

	slack := time.Duration(1) // where other programs use the machine, attackers and clients of one process share what is left
	if weirtest.RaceEnabled {
		slack = 4
	}
	var attack sync.WaitGroup
	var late atomic.Int64
	for i, c := range conns {
		attack.Go(func() {
			var b [1]byte
			if i%2 == 1 { // a byte a second
				for n := range len("PROXY ") {
					c.SetReadDeadline(born[i].Add(time.Duration(n+1) * time.Second))
					io.WriteString(c, "PROXY "[n:n+1])
					if _, err := c.Read(b[:]); nettest.StreamEndOf(err) != nettest.Timeout {
						break
					}
				}
			}
			c.SetReadDeadline(time.Now().Add(20 * time.Second))
			if _, err := c.Read(b[:]); err == nil {
				t.Error("an answer")
			}
			if lived := time.Since(born[i]); lived > headerTimeout+headerTimeout/10+600*time.Millisecond &&
				lived-nettest.StalledSince(born[i]) > headerTimeout+headerTimeout/10+slack*600*time.Millisecond {
				late.Add(1)
			}
		})
	}
	took := legitimate(func() bool { return time.Since(born[attackers-1]) < headerTimeout })
	attack.Wait()
	require.Zero(t, late.Load(), "attackers that stayed")
	require.Equal(t, int64(len(usual)+len(took)), served.Load(), "an attacker reaches no server")
	share := func(d []time.Duration, percent int) time.Duration { slices.Sort(d); return d[len(d)*percent/100] }
	t.Logf("legitimate clients: before %d, 99 %% within %v; meanwhile %d, 90 %% within %v, 99 %% within %v",
		len(usual), share(usual, 99), len(took), share(took, 90), share(took, 99))
	require.Less(t, share(took, 90), slack*(50*time.Millisecond+2*share(usual, 90)))
	require.Less(t, share(took, 99), slack*(200*time.Millisecond+2*share(usual, 99)))
	require.Empty(t, w.Warnings())
}
