// Requests in two writes and delayed acknowledgements.

package tcp_test

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// A server that needs the whole of a request, which its client sends in two writes with Nagle's algorithm on, answers without a
// delayed acknowledgement of 40 ms. A PROXY header in pieces is not delayed either.
func TestRequestInTwoWritesIsNotDelayed(t *testing.T) {
	t.Parallel()
	request := strings.Repeat("q", 64)
	plain, header := nettest.Reserve(t), nettest.Reserve(t)
	host := nettest.Start(t, nettest.Echo)
	weirtest.Start(t, weirtest.Config{
		Listen: plain, Levels: weirtest.OneLevel(host.Addr()),
		More: strings.Replace(weirtest.ListenerTables("header", header, host.Addr()), "cluster =", "accept_proxy = true\ntrusted_proxies = [\"127.0.0.0/8\"]\ncluster =", 1),
	}.String())
	for addr, first := range map[string]string{plain: request[:32], header: "PROXY TCP4 192.0.2.1 192.0"} {
		rest, answer := request[32:], request
		if addr == header {
			rest, answer = ".2.2 1 2\r\n"+request, request
		}
		soonest := time.Hour
		for range 20 { // a busy machine makes some late
			c := nettest.Dial(t, addr)
			require.NoError(t, c.SetNoDelay(false))
			began := time.Now()
			weirtest.WriteText(c, first)
			weirtest.WriteText(c, rest)
			got := make([]byte, len(answer))
			_, err := io.ReadFull(c, got)
			require.NoError(t, err)
			require.Equal(t, answer, string(got))
			soonest = min(soonest, time.Since(began))
			c.Close()
		}
		require.Less(t, soonest, 35*time.Millisecond)
	}
}
