package admin

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/conf"
	"weir/internal/nettest"
	"weir/internal/status"
)

// largeWeir has a status of several megabytes.
type largeWeir struct{ *fakeWeir }

func (w largeWeir) Status() status.Document {
	doc := w.fakeWeir.Status()
	level := &doc.Clusters[0].Levels[0]
	one := level.Servers[0]
	one.Reason = strings.Repeat("x", 500)
	for range 10_000 {
		level.Servers = append(level.Servers, one)
	}
	return doc
}

// dialUnread connects to a TCP address with a small receive buffer, and sends a request as often as times says, without reading.
func dialUnread(t *testing.T, at conf.Address, path string, times int) net.Conn {
	t.Helper()
	d := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096) })
	}}
	c, err := d.Dial("tcp", at.String())
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	go fmt.Fprint(c, strings.Repeat("GET "+path+" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", times))
	return c
}

// fetch returns the status code of a response that is read, or 0 if there was none.
func fetch(c *http.Client, path string) (code, size int) {
	res, err := c.Get("http://127.0.0.1" + path)
	if err != nil {
		return 0, 0
	}
	defer res.Body.Close()
	n, err := io.Copy(io.Discard, res.Body)
	if err != nil {
		return 0, int(n)
	}
	return res.StatusCode, int(n)
}

// The responses that clients do not read have a bounded memory together. Others get theirs meanwhile, as those that read a little.
func TestUnreadResponsesHaveBoundedMemory(t *testing.T) {
	t.Parallel()
	tcp, unix := freePort(t), unixAddress(filepath.Join(t.TempDir(), "a.sock"))
	s := startServer(t, largeWeir{newFakeWeir()}, conf.Admin{Listen: []conf.Address{tcp, unix}, Explicit: true})
	held := func() (bytes int) {
		s.readResponses.mu.Lock()
		defer s.readResponses.mu.Unlock()
		return s.readResponses.unread
	}
	for range maxClients + 6 {
		dialUnread(t, tcp, "/v1/clusters", 1)
	}
	nettest.Wait(t, 15*time.Second, "responses that wait", func() bool { return held() > maxUnread/2 })
	for range 3 {
		code, size := fetch(httpClient(unix), "/v1/clusters")
		require.Equal(t, 200, code, "with full access")
		require.Greater(t, size, 5<<20)
		require.LessOrEqual(t, held(), maxUnread)
	}
	nettest.Wait(t, 30*time.Second, "a client that reads", func() bool {
		require.LessOrEqual(t, held(), maxUnread)
		code, size := fetch(httpClient(tcp), "/v1/clusters")
		return code == 200 && size > 5<<20
	})
	nettest.Wait(t, 60*time.Second, "clients that do not read to be disconnected", func() bool {
		require.LessOrEqual(t, held(), maxUnread)
		return held() == 0
	})
}

// A response for which there is no room is an error that says when to ask again.
func TestResponseWithoutRoomIsRefused(t *testing.T) {
	t.Parallel()
	at := freePort(t)
	s := startServer(t, newFakeWeir(), conf.Admin{Listen: []conf.Address{at}, Explicit: true})
	s.readResponses.building <- struct{}{}
	res, body := request(t, httpClient(at), "GET /v1/status", "")
	require.Equal(t, 503, res.StatusCode)
	require.Equal(t, retryAfter, res.Header.Get("Retry-After"))
	require.Contains(t, body, "too many responses")
	<-s.readResponses.building
	res, _ = request(t, httpClient(at), "GET /v1/status", "")
	require.Equal(t, 200, res.StatusCode)
	require.NotEmpty(t, res.Header.Get("Content-Length"))
}

// A client that sends requests and reads no response loses its place to one that does, and is disconnected soon.
func TestClientThatDoesNotReadLosesItsPlace(t *testing.T) {
	t.Parallel()
	at := freePort(t)
	s := startServer(t, newFakeWeir(), conf.Admin{Listen: []conf.Address{at}, Explicit: true})
	l := s.listeners[at.String()].limited
	reading := func() int {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.reading.Len()
	}
	var stuck []net.Conn
	nettest.Wait(t, 15*time.Second, "all places of readers to be taken", func() bool {
		for len(stuck) < maxClients*3/4 {
			stuck = append(stuck, dialUnread(t, at, "/", 1000))
		}
		return reading() == l.maxReaders()
	})
	nettest.Wait(t, 10*time.Second, "a client that reads to be served in the place of one that does not", func() bool {
		code, _ := fetch(httpClient(at), "/healthz")
		return code == 200
	})
	nettest.Wait(t, 15*time.Second, "the others to be disconnected", func() bool { return reading() == 0 })
}

// A client that reads slowly gets its whole response.
func TestSlowReaderGetsItsResponse(t *testing.T) {
	t.Parallel()
	at := freePort(t)
	startServer(t, largeWeir{newFakeWeir()}, conf.Admin{Listen: []conf.Address{at}, Explicit: true})
	c := dialUnread(t, at, "/v1/clusters", 1)
	c.SetReadDeadline(time.Now().Add(30 * time.Second))
	total, part := 0, make([]byte, 64<<10)
	for total < 5<<20 {
		n, err := c.Read(part)
		require.NoError(t, err, "after %d bytes", total)
		if total += n; total>>20 != (total-n)>>20 {
			time.Sleep(2 * writeSlice) // once for each megabyte
		}
	}
}
