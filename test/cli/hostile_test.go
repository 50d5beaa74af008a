// Hostile HTTP clients.

package cli_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// A thousand API clients that are slow, send too much or send garbage use only a few descriptors; sessions and the API
// at its other address continue.
func TestHostileAPIClients(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	tcp, a := nettest.Reserve(t), weirtest.NewAPI(t)
	l := weirtest.Config{Listen: nettest.Reserve(t), Levels: weirtest.OneLevel(host.Addr() + " name=A")}
	w := weirtest.Start(t, a.AddTo(l.String(), tcp))
	session := nettest.Dial(t, l.Listen)
	require.NoError(t, weirtest.PingPong(session))
	before := len(w.Process().Descriptors())

	texts := []string{
		"", // says nothing
		"GET /v1/status HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ",
		"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03nonsense\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Huge: " + strings.Repeat("x", 100_000),
		"PUT /v1/clusters/x HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n{",
		"PUT /v1/clusters/x HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 99999999999999\r\n\r\n" + strings.Repeat("[", 50_000),
		"GET /v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", // and does not read
		strings.Repeat("GET /v1/status HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 20),
		"POST /v1/plan HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n4000\r\n" + strings.Repeat("a", 0x4000),
		"GET /" + strings.Repeat("../", 3000) + " HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
	}
	ctx, stop := context.WithCancel(t.Context())
	var flood sync.WaitGroup
	var mu sync.Mutex
	var held []net.Conn
	for worker := range 10 {
		flood.Go(func() {
			for i := range 100 {
				c, err := net.Dial("tcp", tcp)
				if err != nil {
					continue // rejected
				}
				mu.Lock()
				held = append(held, c)
				mu.Unlock()
				c.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
				c.Write([]byte(texts[(worker+i)%len(texts)]))
			}
		})
	}
	var worst time.Duration
	var most int
	go func() { flood.Wait(); stop() }()
	for ctx.Err() == nil {
		began := time.Now()
		require.NoError(t, weirtest.PingPong(session))
		worst = max(worst, nettest.Elapsed(began))
		most = max(most, len(w.Process().Descriptors()))
		a.MustDo("GET /v1/status", "") // at the other address
	}
	require.Less(t, worst, weirtest.Bound(time.Second))
	require.LessOrEqual(t, most-before, 64+10)
	fresh := nettest.Dial(t, l.Listen)
	require.NoError(t, weirtest.PingPong(fresh), "new clients are served")

	for _, c := range held {
		c.Close()
	}
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	nettest.Wait(t, 30*time.Second, "the API to be there for others", func() bool {
		res, err := client.Get("http://" + tcp + "/v1/status")
		if err != nil {
			return false
		}
		res.Body.Close()
		return res.StatusCode == 200
	})
	session.Close()
	fresh.Close()
}

// A client that writes its whole request before it reads gets the error response, however large the request was.
func TestTooLargeRequestGetsResponse(t *testing.T) {
	t.Parallel()
	_, _, a := weirtest.ServeAPI(t, weirtest.Config{Levels: weirtest.OneLevel(nettest.Reserve(t))})
	c, err := net.Dial("unix", a.Socket)
	require.NoError(t, err)
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute))
	body := strings.Repeat("x", 8<<20)
	_, err = fmt.Fprintf(c, "PUT /v1/clusters/c HTTP/1.1\r\nHost: weir\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	require.NoError(t, err)
	answer, err := io.ReadAll(c)
	require.NoError(t, err)
	require.Contains(t, string(answer), "HTTP/1.1 413 ")
	require.Contains(t, string(answer), `{"error":"request body too large","field":""}`)
}
