package tcp_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/proxy"
	"weir/internal/weirtest"
)

// Valid headers and headers with a wrong byte or two, in pieces of any size, from clients that close, abort or wait:
// weir decides as a parser of the complete header does, and servers get the bytes after a valid header or nothing.
func TestRandomProxyHeaders(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	told := map[string]string{} // what was received, by the number that each client says
	host := nettest.Start(t, func(_ context.Context, c *net.TCPConn) {
		data, end := nettest.ReadToEnd(c, 20*time.Second)
		mu.Lock()
		defer mu.Unlock()
		if end == nettest.EOF {
			_, number, _ := strings.Cut(string(data), "#")
			told[number] = string(data)
		}
	})
	w, addr := weirtest.Serve(t, replaceText(proxied("", host.Addr()), `"20s"`, `"10s"`))
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	valid := []string{
		"PROXY TCP4 192.0.2.1 192.0.2.2 1234 5678\r\n", "PROXY TCP6 2001:db8::1 ::1 1 2\r\n", "PROXY UNKNOWN junk\r\n",
		nettest.ProxyV2(0x21, 0x11, block4, tlvs), nettest.ProxyV2(0x21, 0x21, block6), nettest.ProxyV2(0x20, 0), nettest.ProxyV2(0x21, 0x31, blockUnx, tlvs),
		nettest.ProxyWithChecksum(nettest.ProxyV2(0x21, 0x11, block4, tlvs, checksum)),
	}
	const clients = 400
	var wait sync.WaitGroup
	room := make(chan struct{}, 40)
	for i := range clients {
		r := rand.New(rand.NewPCG(seed, uint64(i)))
		text := valid[r.IntN(len(valid))]
		for range r.IntN(3) {
			b := []byte(text)
			b[r.IntN(len(b))] = []byte("\x00\x11 :.09P\r\n")[r.IntN(10)]
			text = string(b)
		}
		number := fmt.Sprint(i)
		text += "payload " + strings.Repeat("x", r.IntN(5000)) + "#" + number
		if r.IntN(8) == 0 {
			text = text[:r.IntN(20)]
		}
		abort := r.IntN(10) == 0
		room <- struct{}{}
		wait.Go(func() {
			defer func() { <-room }()
			c, err := nettest.TryDial(addr)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			for rest := text; rest != "" && err == nil; {
				n := 1 + r.IntN(min(len(rest), 1+r.IntN(200)))
				_, err = io.WriteString(c, rest[:n])
				rest = rest[n:]
				if r.IntN(3) == 0 {
					time.Sleep(time.Duration(r.IntN(3)) * time.Millisecond)
				}
			}
			if abort {
				nettest.Abort(c)
				return
			}
			c.CloseWrite()
			got, end := nettest.ReadToEnd(c, 20*time.Second)
			_, size, bad := proxy.Parse([]byte(text))
			mu.Lock()
			seen, served := told[number]
			mu.Unlock()
			switch {
			case len(got) > 0 || end == nettest.Timeout:
				t.Errorf("client %s: %q, %s", number, got, end)
			case bad == nil && (seen != text[size:] && strings.HasSuffix(text, "#"+number) || end != nettest.EOF):
				t.Errorf("client %s, %.120q: the server got %.80q, the client %s", number, text, seen, end)
			case bad != nil && (served || err == nil && end != nettest.Reset && text != ""):
				t.Errorf("client %s, %.120q: %v, but the server got %.80q, the client %s", number, text, bad, seen, end)
			}
		})
	}
	wait.Wait()
	require.Empty(t, w.Warnings())
}
