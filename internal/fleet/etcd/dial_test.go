package etcd

import (
	"bytes"
	"errors"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
)

// HTTP/2 frames (RFC 9113).
var (
	settingsFrame = []byte{0, 0, 0, 4, 0, 0, 0, 0, 0}
	pingFrame     = []byte{0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8}
	goAwayFrame   = []byte{0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
)

// serveConns calls serve for each connection to a listener until the end of the test.
func serveConns(t *testing.T, serve func(c net.Conn)) (url string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { defer c.Close(); serve(c) })
		}
	})
	t.Cleanup(func() { l.Close(); all.Wait() })
	return "http://" + l.Addr().String()
}

// A store that floods with pings and reads nothing does not delay the end.
func TestCloseWithStoreThatReadsNothing(t *testing.T) {
	blocked := make(chan struct{}, 1)
	url := serveConns(t, func(c net.Conn) {
		_, err := c.Write(settingsFrame)
		pings := bytes.Repeat(pingFrame, 1000)
		for err == nil {
			_ = c.SetWriteDeadline(time.Now().Add(500 * time.Millisecond))
			_, err = c.Write(pings)
		}
		if errors.Is(err, os.ErrDeadlineExceeded) { // the client cannot write its answers, and has stopped reading
			blocked <- struct{}{}
			_, _ = c.Read(make([]byte, 0, 1))
			<-t.Context().Done()
		}
	})
	s := Open(Options{Endpoints: []string{url}, Prefix: "/weir", Timeout: 2 * time.Second})
	var calls sync.WaitGroup
	calls.Go(func() {
		_, err := s.Load(t.Context())
		require.Error(t, err)
	})
	select {
	case <-blocked:
	case <-time.After(60 * time.Second):
		t.Fatal("the client answers all pings")
	}
	began := time.Now()
	require.NoError(t, s.Close())
	require.Less(t, time.Since(began), 3*time.Second, "gRPC waits five seconds")
	calls.Wait()
}

// A store that ends each connection at once is not connected to again and again without a pause.
func TestStoreThatEndsConnections(t *testing.T) {
	var mu sync.Mutex
	conns := 0
	url := serveConns(t, func(c net.Conn) {
		mu.Lock()
		conns++
		mu.Unlock()
		_, _ = c.Write(append(append([]byte{}, settingsFrame...), goAwayFrame...))
	})
	count := func() int { mu.Lock(); defer mu.Unlock(); return conns }
	s := open(t, Options{Endpoints: []string{url}})
	began := time.Now()
	nettest.Wait(t, 60*time.Second, "several connections", func() bool {
		_, err := s.Load(t.Context())
		require.Error(t, err)
		return count() >= 5
	})
	require.LessOrEqual(t, count(), int(time.Since(began)/dialPause)+2)
}
