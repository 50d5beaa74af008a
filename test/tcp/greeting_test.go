package tcp_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// mysqlRefusal is the packet with which a MySQL server refuses a client.
func mysqlRefusal(code int, text string) string {
	return string([]byte{byte(3 + len(text)), 0, 0, 0, 0xff, byte(code), byte(code >> 8)}) + text
}

const (
	mysqlHandshake = "\x09\x00\x00\x00\x0a11.4.2\x00\x07"
	redisFull      = "-ERR max number of clients reached\r\n"
)

// refuse sends a text, in pieces of n bytes, and closes. It does not read: bytes that the client has sent cause a reset.
func refuse(text string, n int, pause time.Duration) nettest.Handler {
	return func(_ context.Context, c *net.TCPConn) {
		defer c.Close()
		for rest := text; rest != ""; rest = rest[min(n, len(rest)):] {
			c.Write([]byte(rest[:min(n, len(rest))]))
			time.Sleep(pause)
		}
	}
}

// A server that refuses with its first packet is skipped: the client gets the greeting of the next one, and what it has
// sent early. Only refusals that are not for want of room count as failures.
func TestMySQLRefusalGoesToNextServer(t *testing.T) {
	t.Parallel()
	for code, counts := range map[int]bool{1040: false, 1129: true, 1130: true, 1053: true, 1927: true} {
		for _, pieces := range []int{1, 5, 100} {
			for _, proxy := range []string{"", "v2"} {
				refusing := nettest.Start(t, refuse(mysqlRefusal(code, "no"), pieces, time.Millisecond))
				good := nettest.Start(t, nettest.Greet(mysqlHandshake, nettest.Echo))
				w, addr, a := weirtest.ServeAPI(t, weirtest.Config{
					Cluster: fmt.Sprintf("greeting = \"mysql\"\nbalance = \"first\"\nmax_fails = 2\nsend_proxy = %q", proxy),
					Levels:  weirtest.OneLevel(refusing.Addr()+" name=A", good.Addr()+" name=B"),
				})
				for i := range 3 {
					c := nettest.Dial(t, addr)
					require.NoError(t, weirtest.WriteText(c, "early"))
					require.NoError(t, c.CloseWrite())
					data, end := nettest.ReadToEnd(c, 5*time.Second)
					require.Equal(t, nettest.EOF, end)
					text := string(data)
					require.Equal(t, mysqlHandshake, text[:len(mysqlHandshake)])
					require.Equal(t, proxy == "v2", strings.HasPrefix(text[len(mysqlHandshake):], "\r\n\r\n\x00\r\nQUIT\n"))
					require.Equal(t, "early", text[len(text)-5:])
					attempts := 2
					if counts && i == 2 {
						attempts = 1 // A is failing
					}
					require.Equal(t, attempts, w.SessionRecord(c).Int("attempts"))
				}
				state := "up"
				if counts {
					state = "failing"
					require.Contains(t, a.Server("A")["reason"], fmt.Sprintf("MySQL error %d", code))
				}
				require.Equal(t, state, a.Server("A")["state"])
				require.EqualValues(t, 3, a.Server("B")["sessions_total"])
				require.EqualValues(t, 0, a.Server("A")["sessions_total"])
			}
		}
	}
}

// When all servers refuse, the client gets the last refusal as it was sent, and a FIN, whatever it has sent itself.
func TestClientGetsLastRefusal(t *testing.T) {
	t.Parallel()
	for protocol, texts := range map[string][2]string{
		"mysql": {mysqlRefusal(1130, "first"), mysqlRefusal(1040, "last")},
		"redis": {"-DENIED first\r\n", "-ERR max number of clients + cluster connections reached\r\n"},
	} {
		for _, early := range []string{"", "PING\r\n"} {
			a, b := nettest.Start(t, refuse(texts[0], 100, 0)), nettest.Start(t, refuse(texts[1], 100, 0))
			w, addr := weirtest.Serve(t, weirtest.Config{
				Cluster: fmt.Sprintf("greeting = %q\nbalance = \"first\"", protocol), Levels: weirtest.OneLevel(a.Addr()+" name=A", b.Addr()+" name=B"),
			})
			c := nettest.Dial(t, addr)
			require.NoError(t, weirtest.WriteText(c, early))
			data, end := nettest.ReadToEnd(c, 5*time.Second)
			require.Equal(t, texts[1], string(data))
			require.Equal(t, nettest.EOF, end)
			r := w.SessionRecord(c)
			require.Equal(t, "dial server_refused", r.Termination())
			require.Equal(t, 2, r.Int("attempts"))
			require.Equal(t, len(texts[1]), r.Int("bytes_down"))
		}
	}
}

// A server that is silent, closes or resets before its first packet, or sends another protocol.
func TestMySQLServerWithoutGreeting(t *testing.T) {
	t.Parallel()
	good := nettest.Start(t, nettest.Greet(mysqlHandshake, nettest.Echo))
	for name, test := range map[string]struct {
		handler nettest.Handler
		reason  string // "" = what it sends is forwarded
	}{
		"silent":              {nettest.Silent, "dial greeting_timeout"},
		"half a packet":       {nettest.Greet("\x40\x00", nettest.Silent), "dial greeting_timeout"},
		"closes":              {func(_ context.Context, c *net.TCPConn) { c.Close() }, "dial refused"},
		"resets":              {func(_ context.Context, c *net.TCPConn) { nettest.Abort(c) }, "dial refused"},
		"another protocol":    {nettest.SendText("HTTP/1.1 400 Bad Request\r\n"), ""},
		"another error":       {nettest.SendText(mysqlRefusal(1045, "Access denied")), ""},
		"an error of 16 MB":   {nettest.SendText("\xff\xff\xff\x00\xff\x10\x04" + strings.Repeat("x", 100_000)), ""},
		"pipelined greetings": {nettest.SendText(mysqlHandshake + mysqlRefusal(1040, "later")), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bad := nettest.Start(t, test.handler)
			timeout := 20 * time.Second
			if strings.Contains(test.reason, "timeout") {
				timeout = time.Second
			}
			config := weirtest.Config{Cluster: "greeting = \"mysql\"\ngreeting_timeout = \"" + timeout.String() + "\"\nbalance = \"first\"", Levels: weirtest.OneLevel(bad.Addr() + " name=A")}
			w, addr := weirtest.Serve(t, config)
			begin := time.Now()
			if test.reason == "" {
				c := nettest.Dial(t, addr)
				data, _ := nettest.ReadToEnd(c, 5*time.Second)
				require.NotEmpty(t, data)
				c.Close()
				require.Equal(t, "relay server_closed", w.SessionRecord(c).Termination())
				return
			}
			if c, err := nettest.TryDial(addr); err == nil { // the reset may come first
				data, end := nettest.ReadToEnd(c, 5*time.Second)
				require.Empty(t, data)
				require.Equal(t, nettest.Reset, end)
				c.Close()
			}
			w.WaitRecord(5*time.Second, test.reason, func(r weirtest.Record) bool { return r.Termination() == test.reason })
			if strings.Contains(test.reason, "timeout") {
				weirtest.RequireBetween(t, timeout, time.Since(begin))
			}
			config.Levels = weirtest.OneLevel(bad.Addr()+" name=A", good.Addr()+" name=B")
			w, addr = weirtest.Serve(t, config)
			c := nettest.Dial(t, addr)
			b := make([]byte, len(mysqlHandshake))
			_, err := io.ReadFull(c, b)
			require.NoError(t, err)
			require.Equal(t, mysqlHandshake, string(b))
			require.NoError(t, weirtest.PingPong(c))
			c.Close()
			require.Equal(t, 2, w.SessionRecord(c).Int("attempts"))
		})
	}
}

// A client that resets, or is cut, while the greeting is awaited.
func TestSessionEndsWhileGreetingIsAwaited(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Discard)
	config := weirtest.Config{Listen: nettest.Reserve(t), Cluster: "greeting = \"mysql\"\ngreeting_timeout = \"1m\"", Levels: weirtest.OneLevel(host.Addr() + " name=A")}
	w, addr, a := weirtest.ServeAPI(t, config)
	resets := nettest.Dial(t, addr)
	a.WaitPhase(resets, "dial")
	nettest.Abort(resets)
	require.Equal(t, "dial client_reset", w.SessionRecord(resets).Termination())
	cut := nettest.Dial(t, addr)
	a.WaitPhase(cut, "dial")
	a.MustDo("DELETE /v1/clusters/c/servers/A/sessions", "")
	require.Equal(t, "dial cut_operator", w.SessionRecord(cut).Termination())
	config.Cluster += "\ntry_timeout = \"1s\""
	w.Reload(a.AddTo(config.String()))
	late := nettest.Dial(t, addr)
	require.Equal(t, "dial try_timeout", w.SessionRecord(late).Termination())
	nettest.Wait(t, 5*time.Second, "closed connections", func() bool { return host.Open() == 0 })
}

// What a Redis client has sent goes to the next server too, however it was sent, with a PROXY header if there is one. More
// than 16 kB are not kept, and the client gets the refusal.
func TestRedisRefusalGoesToNextServer(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		send    []string
		refusal nettest.Handler
		proxy   string
		close   bool // the client half-closes
		refused bool // not retried
	}{
		"a client that waits":       {send: nil, refusal: refuse(redisFull, 100, 0)},
		"one command":               {send: []string{"PING\r\n"}, refusal: refuse(redisFull, 100, 0)},
		"a refusal in pieces":       {send: []string{"PING\r\n"}, refusal: refuse(redisFull, 3, 2*time.Millisecond)},
		"a late refusal":            {send: []string{"PI", "NG", "\r\n"}, refusal: nettest.Pause(100*time.Millisecond, refuse(redisFull, 100, 0))},
		"a pipeline of 16 kB":       {send: []string{strings.Repeat("x", 10000), strings.Repeat("y", 6384)}, refusal: nettest.Pause(100*time.Millisecond, refuse(redisFull, 100, 0))},
		"with a PROXY header":       {send: []string{"PING\r\n"}, refusal: refuse("-DENIED x\r\n", 100, 0), proxy: "v1"},
		"a half-closed client":      {send: []string{"PING\r\n"}, refusal: nettest.Pause(50*time.Millisecond, refuse(redisFull, 100, 0)), close: true},
		"a pipeline of over 16 kB":  {send: []string{strings.Repeat("x", 16385)}, refusal: readThenRefuse(16385), refused: true},
		"after a byte of an answer": {send: []string{"PING\r\n"}, refusal: nettest.SendText("+PONG\r\n" + redisFull), refused: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bad, good := nettest.Start(t, test.refusal), nettest.Start(t, nettest.Echo)
			w, addr := weirtest.Serve(t, weirtest.Config{
				Cluster: fmt.Sprintf("greeting = \"redis\"\nbalance = \"first\"\nsend_proxy = %q", test.proxy), Levels: weirtest.OneLevel(bad.Addr()+" name=A", good.Addr()+" name=B"),
			})
			c := nettest.Dial(t, addr)
			for _, text := range test.send {
				require.NoError(t, weirtest.WriteText(c, text))
				time.Sleep(5 * time.Millisecond) // in segments of their own
			}
			if test.refused {
				data, _ := nettest.ReadToEnd(c, 5*time.Second)
				require.True(t, strings.HasSuffix(string(data), redisFull), "%q", data)
				c.Close()
				require.Zero(t, good.Accepted())
				require.Equal(t, 1, w.SessionRecord(c).Int("attempts"))
				return
			}
			if test.close {
				require.NoError(t, c.CloseWrite())
			}
			want := strings.Join(test.send, "")
			if test.proxy != "" {
				local, remote := c.LocalAddr().(*net.TCPAddr), c.RemoteAddr().(*net.TCPAddr)
				want = fmt.Sprintf("PROXY TCP4 127.0.0.1 127.0.0.1 %d %d\r\n", local.Port, remote.Port) + want
			}
			if !test.close {
				nettest.Wait(t, 5*time.Second, "the next server", func() bool { return good.Accepted() == 1 })
				require.NoError(t, weirtest.WriteText(c, "!"))
				want += "!"
				require.NoError(t, c.CloseWrite())
			}
			data, end := nettest.ReadToEnd(c, 5*time.Second)
			require.Equal(t, want, string(data))
			require.Equal(t, nettest.EOF, end)
			r := w.SessionRecord(c)
			require.Equal(t, 2, r.Int("attempts"))
			require.Equal(t, "relay client_closed", r.Termination())
			require.Equal(t, "B", r.Text("server"))
		})
	}
}

// readThenRefuse refuses after it has read n bytes.
func readThenRefuse(n int) nettest.Handler {
	return func(_ context.Context, c *net.TCPConn) {
		io.CopyN(io.Discard, c, int64(n))
		io.WriteString(c, redisFull)
		c.Close()
	}
}

// Sessions behind a greeting behave as others: large streams, resets, idle timeouts, cuts and half-closes.
func TestSessionsWithGreetingRelayAsUsual(t *testing.T) {
	t.Parallel()
	duplex := &nettest.Duplex{}
	host := nettest.Start(t, duplex.Handle)
	w, addr, a := weirtest.ServeAPI(t, weirtest.Config{Listener: "client_idle_timeout = \"3s\"", Cluster: "greeting = \"redis\"", Levels: weirtest.OneLevel(host.Addr() + " name=A")})
	var g weirtest.Group
	for i := range 8 {
		g.Go(func() error {
			c, err := nettest.TryDial(addr)
			if err != nil {
				return err
			}
			defer c.Close()
			return duplex.Run(c, uint64(i), 3<<20, 5<<20)
		})
	}
	require.NoError(t, g.Wait())
	idle := nettest.Dial(t, addr)
	require.Equal(t, "relay client_idle", w.SessionRecord(idle).Termination())
	cut := nettest.Dial(t, addr)
	require.NoError(t, weirtest.WriteText(cut, "x"))
	a.WaitPhase(cut, "relay")
	a.MustDo("DELETE /v1/clusters/c/servers/A/sessions", "")
	_, end := nettest.ReadToEnd(cut, 5*time.Second)
	require.Equal(t, nettest.Reset, end)
	require.Equal(t, "relay cut_operator", w.SessionRecord(cut).Termination())
}

// With hold_timeout, a session that all servers refuse waits for room instead of ending.
func TestRefusedSessionIsHeld(t *testing.T) {
	t.Parallel()
	var room atomic.Bool
	host := nettest.Start(t, func(ctx context.Context, c *net.TCPConn) {
		if room.Load() {
			nettest.Greet(mysqlHandshake, nettest.Echo)(ctx, c)
			return
		}
		refuse(mysqlRefusal(1040, "full"), 100, 0)(ctx, c)
	})
	w, addr, a := weirtest.ServeAPI(t, weirtest.Config{Cluster: "greeting = \"mysql\"\nhold_timeout = \"4s\"", Levels: weirtest.OneLevel(host.Addr() + " name=A")})
	c := nettest.Dial(t, addr)
	a.WaitPhase(c, "hold")
	room.Store(true)
	b := make([]byte, len(mysqlHandshake))
	_, err := io.ReadFull(c, b)
	require.NoError(t, err)
	require.Equal(t, mysqlHandshake, string(b))
	room.Store(false)
	c = nettest.Dial(t, addr)
	data, end := nettest.ReadToEnd(c, 10*time.Second)
	require.Equal(t, mysqlRefusal(1040, "full"), string(data), "the last refusal")
	require.Equal(t, nettest.EOF, end)
	require.Equal(t, "hold hold_timeout", w.SessionRecord(c).Termination())
}

// A Redis server that resets before its first byte, as one that is killed does, resets its client: a FIN would look like a clean
// end.
func TestRedisServerResetBeforeFirstByteResetsClient(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, func(_ context.Context, c *net.TCPConn) {
		io.ReadFull(c, make([]byte, 4))
		nettest.Abort(c)
	})
	w, addr := weirtest.Serve(t, weirtest.Config{Cluster: "greeting = \"redis\"", Levels: weirtest.OneLevel(host.Addr())})
	for range 20 {
		c := nettest.Dial(t, addr)
		require.NoError(t, weirtest.WriteText(c, "PING"))
		_, end := nettest.ReadToEnd(c, 5*time.Second)
		require.Equal(t, nettest.Reset, end)
		require.Equal(t, "relay server_reset", w.SessionRecord(c).Termination())
	}
}
