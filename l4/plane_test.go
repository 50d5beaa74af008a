package l4

import (
	"bytes"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/balance"
	"weir/conf"
	"weir/internal/nettest"
)

func TestMain(m *testing.M) { os.Exit(nettest.Run(m)) }

// testClock is a clock that moves only when a test moves it.
type testClock struct{ now atomic.Int64 }

func newTestClock() *testClock {
	c := new(testClock)
	c.now.Store(int64(time.Hour)) // 0 stands for never in a session
	return c
}

func (c *testClock) read() time.Duration { return time.Duration(c.now.Load()) }

// testPlane is a plane with one TCP listener on loopback.
type testPlane struct {
	*Plane
	t       *testing.T
	addr    string
	ln      *Listener
	cluster *balance.Cluster
	records chan Record
	clock   *testClock // nil = real time
}

// startPlane starts a plane that serves servers, in that order. adjust changes the listener's settings.
func startPlane(t *testing.T, clock *testClock, adjust func(*Settings), servers ...string) *testPlane {
	p := &testPlane{t: t, records: make(chan Record, 100), clock: clock}
	o := Options{Loops: 2, Record: func(r Record) { p.records <- r }}
	if clock != nil {
		o.Clock = clock.read
	}
	var err error
	p.Plane, err = Open(o)
	require.NoError(t, err)
	t.Cleanup(p.Close)
	level := balance.LevelSpec{MinUp: 1}
	for i, addr := range servers {
		target := NewTarget([]netip.AddrPort{netip.MustParseAddrPort(addr)}, conf.Source{})
		level.Servers = append(level.Servers, balance.ServerSpec{Name: strconv.Itoa(i), Address: addr, Weight: 1, Handle: target})
	}
	p.cluster = balance.New(balance.Spec{Name: "c", Levels: []balance.LevelSpec{level}}, 1, nil)
	set := &Settings{
		Name: "l", Cluster: p.cluster, ClusterName: "c", Records: RecordAll, Admission: Admission{State: NewAdmissionState(false)},
		ConnectTimeout: 10 * time.Second, HalfClose: 30 * time.Second, ProxyTimeout: 5 * time.Second, Backlog: 128,
	}
	if adjust != nil {
		adjust(set)
	}
	at := netip.MustParseAddrPort(nettest.Reserve(t))
	p.ln, err = p.Listen(conf.Address{Addr: at, Port: at.Port()}, set, false)
	require.NoError(t, err)
	p.ln.Start()
	t.Cleanup(p.ln.Stop)
	p.addr = at.String()
	return p
}

// settle returns when every loop has handled the time and the events before the call.
func (p *testPlane) settle() {
	p.runOnLoops(func(*loop) {})
	p.runOnLoops(func(*loop) {})
}

// advance moves the clock and lets the loops handle the new time.
func (p *testPlane) advance(d time.Duration) {
	p.clock.now.Add(int64(d))
	p.settle()
}

// ended returns the record of the next session that ends, after checking that everything it held was released.
func (p *testPlane) ended() Record {
	p.t.Helper()
	select {
	case r := <-p.records:
		nettest.Wait(p.t, 5*time.Second, "all sessions to end", func() bool { return p.Sessions() == 0 })
		require.Zero(p.t, p.ln.Settings().Admission.State.Sessions())
		for _, s := range p.cluster.Snapshot(p.Now()).Levels[0].Servers {
			require.Zero(p.t, p.cluster.Server(s.Name).Sessions())
		}
		return r
	case <-time.After(10 * time.Second):
		p.t.Fatal("no session ended")
		panic("unreachable")
	}
}

// pipes returns how many pipes the loops have opened for splicing.
func (p *testPlane) pipes() (n int) {
	for _, c := range p.Counters() {
		n += c.Pipes
	}
	return n
}

// send writes n bytes of a pattern and closes the client's side.
func send(t *testing.T, c *net.TCPConn, n int64) {
	t.Helper()
	_, err := io.Copy(c, io.LimitReader(nettest.Pattern(1), n))
	require.NoError(t, err)
	require.NoError(t, c.CloseWrite())
}

// clientEnd connects, sends data and returns how the client's stream ended.
func clientEnd(addr string, data []byte) nettest.StreamEnd {
	c, err := nettest.TryDial(addr)
	if err != nil { // the reset can be faster than the return of connect
		return nettest.StreamEndOf(err)
	}
	defer c.Close()
	_, _ = c.Write(data)
	_, end := nettest.ReadToEnd(c, 5*time.Second)
	return end
}

func TestRelay(t *testing.T) {
	const bulk = 8 << 20
	for _, c := range []struct {
		name     string
		server   nettest.Handler
		client   func(*testing.T, *net.TCPConn)
		up, down uint64
		reason   Reason
		spliced  bool
	}{
		{"round trip", nettest.Echo, func(t *testing.T, c *net.TCPConn) {
			require.NoError(t, nettest.Exchange(c, 1, 1000, 100))
		}, 1000, 1000, ReasonClientClosed, false},
		{"bulk up", nettest.CountToEOF(0), func(t *testing.T, c *net.TCPConn) {
			send(t, c, bulk)
			got, end := nettest.ReadToEnd(c, 10*time.Second)
			require.Equal(t, nettest.EOF, end)
			require.Equal(t, strconv.Itoa(bulk), string(got))
		}, bulk, 7, ReasonClientClosed, true},
		{"bulk down", nettest.Send(2, bulk), func(t *testing.T, c *net.TCPConn) {
			require.NoError(t, nettest.Expect(c, 2, bulk))
		}, 0, bulk, ReasonServerClosed, true},
		{"bulk both ways", nettest.Echo, func(t *testing.T, c *net.TCPConn) {
			require.NoError(t, nettest.Exchange(c, 3, bulk, 256<<10))
		}, bulk, bulk, ReasonClientClosed, true},
		{"client half-closes before the answer", nettest.TrickleAfterEOF(5, time.Millisecond), func(t *testing.T, c *net.TCPConn) {
			send(t, c, 10)
			got, end := nettest.ReadToEnd(c, 10*time.Second)
			require.Equal(t, nettest.EOF, end)
			require.Len(t, got, 5)
		}, 10, 5, ReasonClientClosed, false},
		{"server half-closes before the request", nettest.SendText("banner"), func(t *testing.T, c *net.TCPConn) {
			got, end := nettest.ReadToEnd(c, 10*time.Second)
			require.Equal(t, nettest.EOF, end)
			require.Equal(t, "banner", string(got))
			send(t, c, 10)
		}, 10, 6, ReasonServerClosed, false},
		{"no byte", nettest.Echo, func(t *testing.T, c *net.TCPConn) { send(t, c, 0) }, 0, 0, ReasonClientClosed, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := startPlane(t, nil, nil, nettest.Start(t, c.server).Addr())
			conn := nettest.Dial(t, p.addr)
			c.client(t, conn)
			conn.CloseWrite()
			_, _ = nettest.ReadToEnd(conn, 10*time.Second)
			r := p.ended()
			require.Equal(t, c.reason, r.Reason)
			require.Equal(t, PhaseRelay, r.Phase)
			require.Equal(t, []uint64{c.up, c.down}, []uint64{r.BytesUp, r.BytesDown})
			require.Equal(t, c.spliced, p.pipes() > 0)
		})
	}
}

// A server that does not read stops the client: no more is held than the buffers of the two sockets and one pipe.
func TestRelayAppliesBackpressure(t *testing.T) {
	p := startPlane(t, nil, func(s *Settings) { s.HalfClose = 100 * time.Millisecond }, nettest.Start(t, nettest.NeverRead).Addr())
	c := nettest.Dial(t, p.addr)
	require.NoError(t, c.SetWriteBuffer(64<<10))
	sent := 0
	for chunk := make([]byte, 64<<10); ; {
		require.NoError(t, c.SetWriteDeadline(time.Now().Add(500*time.Millisecond)))
		n, err := c.Write(chunk)
		if sent += n; err != nil {
			require.ErrorIs(t, err, os.ErrDeadlineExceeded)
			break
		}
	}
	require.Less(t, sent, 64<<20)
	require.Equal(t, 1, p.Sessions())
	nettest.Abort(c)
	require.Equal(t, ReasonClientReset, p.ended().Reason)
}

func TestIdleTimeouts(t *testing.T) {
	for _, c := range []struct {
		name      string
		timeout   time.Duration
		adjust    func(*Settings)
		halfClose bool
		reason    Reason
	}{
		{"client", time.Hour, func(s *Settings) { s.ClientIdle, s.ServerIdle = time.Hour, 2*time.Hour }, false, ReasonClientIdle},
		{"server", time.Minute, func(s *Settings) { s.ClientIdle, s.ServerIdle = time.Hour, time.Minute }, false, ReasonServerIdle},
		{"half-close", 30 * time.Second, nil, true, ReasonHalfClose},
	} {
		t.Run(c.name, func(t *testing.T) {
			var host nettest.Recorder
			host.StayOpen = true
			p := startPlane(t, newTestClock(), c.adjust, nettest.Start(t, host.Handle).Addr())
			conn := nettest.Dial(t, p.addr)
			_, err := conn.Write([]byte("x"))
			require.NoError(t, err)
			if c.halfClose {
				require.NoError(t, conn.CloseWrite())
				host.WaitEnd(t, 0, 5*time.Second)
			}
			nettest.Wait(t, 5*time.Second, "the byte to be relayed", func() bool {
				list := p.List(1)
				return len(list) == 1 && list[0].BytesUp == 1
			})
			p.advance(time.Second) // keepalive is set, and the kernel's queue has been looked at
			p.advance(c.timeout - time.Second - time.Millisecond)
			require.Equal(t, 1, p.Sessions(), "ended before its time")
			p.advance(time.Second)
			require.Equal(t, c.reason, p.ended().Reason)
			_, end := nettest.ReadToEnd(conn, 5*time.Second)
			require.Equal(t, nettest.Reset, end)
		})
	}
}

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

func TestAccept(t *testing.T) {
	echo := nettest.Start(t, nettest.Echo).Addr()
	header := []byte("PROXY TCP4 192.0.2.1 192.0.2.2 1000 80\r\n")
	proxied := func(s *Settings) {
		s.AcceptProxy, s.TrustedProxies = true, NewAddressSet(networks("127.0.0.0/8"), false)
	}
	for _, c := range []struct {
		name   string
		adjust func(*Settings)
		send   []byte
		why    Rejection
		reason Reason // of the session that began; none for a client without a session
	}{
		{"denied", func(s *Settings) { s.Admission.Deny = NewAddressSet(networks("127.0.0.0/8"), false) }, nil, RejectedDenied, ReasonNone},
		{"not allowed", func(s *Settings) { s.Admission.Allow = NewAddressSet(networks("10.0.0.0/8"), false) }, nil, RejectedDenied, ReasonNone},
		{"untrusted", func(s *Settings) { s.AcceptProxy = true }, nil, RejectedUntrusted, ReasonNone},
		{"denied by header", func(s *Settings) {
			proxied(s)
			s.Admission.Deny = NewAddressSet(networks("192.0.2.1/32"), false)
		}, header, RejectedDenied, ReasonDenied},
		{"no header", proxied, []byte("GET / HTTP/1.1\r\n\r\n"), Admitted, ReasonNoHeader},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := startPlane(t, nil, c.adjust, echo)
			require.Equal(t, nettest.Reset, clientEnd(p.addr, c.send))
			if c.why != Admitted {
				require.EqualValues(t, 1, p.ln.Rejected()[c.why])
			}
			if c.reason != ReasonNone {
				require.Equal(t, c.reason, p.ended().Reason)
			} else {
				require.Empty(t, p.records)
			}
		})
	}
	// A client over max_sessions waits briefly for a slot, with and without a PROXY header.
	for _, c := range []struct {
		name   string
		adjust func(*Settings)
		first  []byte
	}{{"accepted", func(*Settings) {}, nil}, {"named by a header", proxied, header}} {
		t.Run("max_sessions, "+c.name, func(t *testing.T) {
			p := startPlane(t, newTestClock(), func(s *Settings) {
				c.adjust(s)
				s.Admission.MaxSessions = 1
			}, echo)
			dial := func() *net.TCPConn {
				conn := nettest.Dial(t, p.addr)
				_, err := conn.Write(append(bytes.Clone(c.first), '.'))
				require.NoError(t, err)
				return conn
			}
			waits := func() {
				nettest.Wait(t, 5*time.Second, "a client to wait", func() bool {
					if c.first == nil {
						return p.PendingClients() == 1
					}
					return p.Sessions() == 2
				})
			}
			first := dial()
			_, err := io.ReadFull(first, make([]byte, 1))
			require.NoError(t, err)
			second := dial()
			waits()
			for range pendingMinTries + 1 { // each after pendingInterval
				p.advance(pendingInterval)
			}
			require.Zero(t, p.ln.Rejected()[RejectedMaxSessions], "rejected before pendingTimeout")
			nettest.Close(first)
			p.waitEnd()
			p.advance(pendingInterval)
			_, err = io.ReadFull(second, make([]byte, 1))
			require.NoError(t, err, "the slot that came free is taken")
			third := dial()
			waits()
			for range pendingMinTries + 1 {
				p.advance(2 * pendingTimeout)
			}
			_, end := nettest.ReadToEnd(third, 5*time.Second)
			require.Equal(t, nettest.Reset, end)
			require.EqualValues(t, 1, p.ln.Rejected()[RejectedMaxSessions])
		})
	}
}

// waitEnd waits for a session to end while others go on.
func (p *testPlane) waitEnd() {
	p.t.Helper()
	select {
	case <-p.records:
		p.settle()
	case <-time.After(5 * time.Second):
		p.t.Fatal("no session ended")
	}
}
