// ClientHellos that come in pieces: weir reads and keeps them.

package tcp_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// The server gets every byte of a ClientHello in pieces once, after a PROXY header, and so does the next server if the first
// one refuses the session.
func TestHelloInPiecesReachesServerWhole(t *testing.T) {
	t.Parallel()
	echo := nettest.Start(t, nettest.Greet("+", nettest.Echo)).Addr()
	busy := nettest.Start(t, func(_ context.Context, c *net.TCPConn) { // refuses after it has got the first bytes
		c.Read(make([]byte, 1))
		fmt.Fprint(c, "-ERR max number of clients reached\r\n")
		c.CloseWrite()
		io.Copy(io.Discard, c)
	}).Addr()
	headers := nettest.Start(t, func(_ context.Context, c *net.TCPConn) {
		p := proxyproto.NewConn(c)
		if p.ProxyHeader() != nil {
			fmt.Fprint(c, "+")
			io.Copy(c, p)
		}
	}).Addr()
	closed := nettest.Reserve(t)
	for name, x := range map[string]struct {
		servers, options string
		size, more       int // of the longest message, and of what follows it
	}{
		"next server after a refused connection": {fmt.Sprintf("%q, %q", closed, echo), "balance = \"first\"\n", 16 << 10, 100 << 10},
		"PROXY header":                           {fmt.Sprintf("%q", headers), "send_proxy = \"v2\"\n", 16 << 10, 100 << 10},
		"next server after a refused session":    {fmt.Sprintf("%q, %q", busy, echo), "balance = \"first\"\ngreeting = \"redis\"\n", 8 << 10, 1000},
		"server may refuse":                      {fmt.Sprintf("%q", echo), "greeting = \"redis\"\n", 16 << 10, 100 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := routed(t, nameRoutes, "bc")
			config.More += fmt.Sprintf("[cluster.a]\n%s[[cluster.a.level]]\nservers = [%s]\n", x.options, x.servers)
			w, addr, a := weirtest.ServeAPI(t, config)
			for _, hello := range [][]byte{
				clientHello("db.example.com", 0, oneRecord), clientHello("db.example.com", x.size, oneRecord), clientHello("db.example.com", x.size, 100),
			} {
				c := nettest.Dial(t, addr)
				_, err := c.Write(hello[:40])
				require.NoError(t, err)
				a.WaitPhase(c, "client_hello")
				more := bytes.Repeat([]byte("m"), x.more)
				sent := append(bytes.Clone(hello), more...)
				var writing sync.WaitGroup
				writing.Go(func() { c.Write(sent[40:]); c.CloseWrite() })
				got, end := nettest.ReadToEnd(c, weirtest.Bound(5*time.Second))
				writing.Wait()
				require.Equal(t, nettest.EOF, end)
				require.Equal(t, "+", string(got[:1]))
				require.True(t, bytes.Equal(sent, got[1:]), "%d of %d bytes", len(got)-1, len(sent))
				r := w.SessionRecord(c)
				require.Equal(t, len(sent), r.Int("bytes_up"))
				require.Equal(t, "db.example.com", r.Text("sni"))
			}
		})
	}
}

// Clients that send ClientHellos in segments of one byte cost no more than others that send as many segments. To look at them in
// the kernel's queue again and again stopped all event loops for seconds.
func TestTinySegmentsOfHelloCostLittle(t *testing.T) { // alone: it measures processor time
	const clients = 4
	cost := func(listener string, hello []byte) time.Duration {
		w, addr := weirtest.Serve(t, routed(t, listener, "abc"))
		before := w.Process().CPUTime(t)
		var all sync.WaitGroup
		for range clients {
			c := nettest.Dial(t, addr)
			all.Go(func() {
				for i := range hello {
					if _, err := c.Write(hello[i : i+1]); err != nil {
						return // shows below
					}
					time.Sleep(50 * time.Microsecond) // without it, the kernel joins the bytes before it sends them
				}
			})
			all.Go(func() {
				c.SetReadDeadline(time.Now().Add(time.Minute))
				_, err := io.ReadFull(c, make([]byte, 1+len(hello)))
				assert.NoError(t, err)
			})
		}
		all.Wait()
		return w.Process().CPUTime(t) - before
	}
	for name, hello := range map[string][]byte{
		"one record": clientHello("db.example.com", 6000, oneRecord), "records of one byte": clientHello("db.example.com", 1000, 1),
	} {
		plain, routed := cost("", hello), cost("preread_timeout = \"1m\"\n"+nameRoutes, hello)
		t.Logf("%s: %v, without routes %v", name, routed, plain)
		require.Less(t, routed, 2*plain+200*time.Millisecond, name)
	}
}
