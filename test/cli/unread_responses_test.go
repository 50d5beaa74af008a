package cli_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// Seventy clients that ask for the status of thousands of servers and do not read it take little memory, and keep others from the API
// for a moment only. It took 600 MB and 30 s.
func TestUnreadResponsesTakeLittleMemory(t *testing.T) {
	t.Parallel()
	var servers []string
	for i := range 5000 {
		servers = append(servers, fmt.Sprintf("10.0.%d.%d:6379 name=server-%06d", i/250, i%250+1, i))
	}
	tcp, a := nettest.Reserve(t), weirtest.NewAPI(t)
	l := weirtest.Config{Listen: nettest.Reserve(t), Levels: weirtest.OneLevel(servers...)}
	w := weirtest.Start(t, a.AddTo(l.String(), tcp))
	read := func() bool {
		client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
		res, err := client.Get("http://" + tcp + "/v1/clusters")
		if err != nil {
			return false
		}
		defer res.Body.Close()
		_, err = io.Copy(io.Discard, res.Body)
		return err == nil && res.StatusCode == 200
	}
	require.True(t, read())
	before, memory := w.Process().RSS(t), w.WatchMemory()
	d := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096) })
	}}
	for range 70 {
		c, err := d.Dial("tcp", tcp)
		require.NoError(t, err)
		defer c.Close()
		fmt.Fprint(c, "GET /v1/clusters HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
	}
	for range 3 {
		began := time.Now()
		a.MustDo("GET /v1/clusters", "")
		require.Less(t, nettest.Elapsed(began), weirtest.Bound(3*time.Second), "with full access")
		nettest.Wait(t, 20*time.Second, "a client that reads", read)
	}
	if most := memory(); !weirtest.RaceEnabled { // the race detector multiplies memory
		require.LessOrEqual(t, most-before, int64(150<<20), "growth of resident memory")
	}
}
