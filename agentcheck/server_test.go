package agentcheck

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func startServer(t *testing.T, s *Server) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})
	return l.Addr().String()
}

func query(t *testing.T, address, send string) (Advice, error) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(5*time.Second)))
	return Query(conn, []byte(send))
}

func TestServerRepliesToEveryRequest(t *testing.T) {
	answer, err := FixedReply("50% drain")
	require.NoError(t, err)
	address := startServer(t, &Server{Reply: answer})
	for _, send := range []string{"", "how are you?\n", strings.Repeat("x", 500)} {
		advice, err := query(t, address, send)
		require.NoError(t, err)
		require.Equal(t, Advice{Admin: AdminDrain, Weight: Weight{WeightPercent, 50}}, advice)
	}
}

// Clients that connect and then do nothing do not keep a balancer from its reply.
func TestIdleClientsDoNotSilenceServer(t *testing.T) {
	answer, err := FixedReply("up")
	require.NoError(t, err)
	quickest := time.Hour
	for range 5 { // this machine may be busy
		address := startServer(t, &Server{Reply: answer})
		for range 200 {
			conn, err := net.Dial("tcp", address)
			require.NoError(t, err)
			defer conn.Close()
		}
		began := time.Now()
		for range 10 {
			_, err := query(t, address, "")
			require.NoError(t, err)
		}
		if quickest = min(quickest, time.Since(began)); quickest < replyTimeout {
			return
		}
	}
	t.Fatalf("ten queries took %v", quickest)
}

func TestServerRepliesToAllowedClientsOnly(t *testing.T) {
	answer, err := FixedReply("up")
	require.NoError(t, err)
	address := startServer(t, &Server{Reply: answer, Allow: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("127.0.0.1/32")}})
	_, err = query(t, address, "")
	require.NoError(t, err)
	address = startServer(t, &Server{Reply: answer, Allow: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})
	_, err = query(t, address, "")
	require.ErrorIs(t, err, ErrEmpty)
}

func TestServerWithReplyErrorSendsNothing(t *testing.T) {
	nothing := errors.New("nothing")
	var reported atomic.Value
	address := startServer(t, &Server{Reply: func() (string, error) { return "", nothing }, OnError: func(err error) { reported.Store(err) }})
	_, err := query(t, address, "")
	require.ErrorIs(t, err, ErrEmpty)
	require.Eventually(t, func() bool { return reported.Load() == nothing }, 5*time.Second, time.Millisecond)
}

func TestServerStopsWithOpenConnections(t *testing.T) {
	answer, err := FixedReply("up")
	require.NoError(t, err)
	address := startServer(t, &Server{Reply: answer})
	conn, err := net.Dial("tcp", address)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() }) // after the server has ended
	var line [16]byte
	n, err := conn.Read(line[:])
	require.NoError(t, err)
	require.Equal(t, "up\n", string(line[:n]))
}

func TestServerReturnsErrorOfClosedListener(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	require.ErrorIs(t, (&Server{}).Serve(context.Background(), l), net.ErrClosed)
}

// flaky is a listener whose first accepts fail.
type flaky struct {
	net.Listener
	left atomic.Int32
}

func (f *flaky) Accept() (net.Conn, error) {
	if f.left.Add(-1) >= 0 {
		return nil, errors.New("too many open files")
	}
	return f.Listener.Accept()
}

func TestServerSurvivesFailingAccepts(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	f := &flaky{Listener: l}
	f.left.Store(2)
	answer, err := FixedReply("up")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- (&Server{Reply: answer}).Serve(ctx, f) }()
	advice, err := query(t, l.Addr().String(), "")
	require.NoError(t, err)
	require.Equal(t, HealthUp, advice.Health)
	cancel()
	require.NoError(t, <-done)
}

func TestFixedReplyRejectsUnknownWords(t *testing.T) {
	for line, want := range map[string]string{
		"":            "empty agent reply",
		"upgrading":   `unknown word "upgrading"`,
		"up\n50%":     "more than one line",
		"weight:1000": `unknown word "weight:1000"`,
	} {
		_, err := FixedReply(line)
		require.ErrorContains(t, err, want)
	}
}

func TestFileReplyReadsFileEachTime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	answer := FileReply(path)
	_, err := answer()
	require.ErrorIs(t, err, os.ErrNotExist)
	for content, want := range map[string]string{"drain\n": "drain", "up 20%": "up 20%", "maint\r\nup\n": "maint"} {
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		line, err := answer()
		require.NoError(t, err)
		require.Equal(t, want, line)
	}
	for content, want := range map[string]error{"": ErrEmpty, "\nup\n": ErrEmpty, strings.Repeat("x", MaxReply+1): ErrTooLong} {
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		_, err := answer()
		require.ErrorIs(t, err, want)
	}
}

func TestLoadReply(t *testing.T) {
	line, err := LoadReply()()
	require.NoError(t, err)
	advice, err := Parse([]byte(line + "\n"))
	require.NoError(t, err)
	require.Equal(t, WeightPercent, advice.Weight.Kind)
	for _, c := range []struct {
		load       float64
		processors int
		want       string
	}{{0, 1, "100%"}, {0.5, 1, "50%"}, {0.5, 4, "88%"}, {4, 4, "1%"}, {100, 1, "1%"}} {
		require.Equal(t, c.want, loadLine(c.load, c.processors))
	}
}
