package checks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/conf"
	"weir/internal/nettest"
)

func expect(text string) TCP { return TCP{Steps: []conf.Step{{Expect: []byte(text)}}} }

func TestTCPConnect(t *testing.T) {
	h := nettest.Start(t, nettest.Silent)
	_, err := runCheck(t, TCP{}, h.Addr())
	require.NoError(t, err)
	_, err = runCheck(t, TCP{Quiet: true}, h.Addr())
	require.NoError(t, err)
	h.Down()
	for _, quiet := range []bool{false, true} {
		_, err = runCheck(t, TCP{Quiet: quiet}, h.Addr())
		require.ErrorIs(t, err, syscall.ECONNREFUSED)
		require.Equal(t, "connect to "+h.Addr()+": connection refused", err.Error())
		require.False(t, IsShortage(err))
	}
}

func TestTCPConnectLeavesNoTimeWait(t *testing.T) {
	h := nettest.Start(t, nettest.Discard)
	talker := nettest.Start(t, runScript([2]string{"x", "y"}))
	// Another test may have used the ports shortly before.
	before := timeWaits(t, talker.AddrPort().Port()) + timeWaits(t, h.AddrPort().Port())
	for range 50 {
		_, err := runCheck(t, TCP{}, h.Addr())
		require.NoError(t, err)
		_, err = runCheck(t, TCP{Steps: []conf.Step{{Send: []byte("x"), Expect: []byte("y")}}}, talker.Addr())
		require.NoError(t, err)
	}
	require.LessOrEqual(t, timeWaits(t, talker.AddrPort().Port())+timeWaits(t, h.AddrPort().Port()), before)
}

// timeWaits counts the sockets in TIME_WAIT that were connected to a local port.
func timeWaits(t *testing.T, port uint16) int {
	t.Helper()
	table, err := os.ReadFile("/proc/net/tcp")
	require.NoError(t, err)
	n := 0
	for _, line := range strings.Split(string(table), "\n") {
		f := strings.Fields(line)
		if len(f) > 3 && f[3] == "06" && strings.HasSuffix(f[2], fmt.Sprintf(":%04X", port)) {
			n++
		}
	}
	return n
}

// The server has accepted. The result must not depend on whether its reset arrives before the check sees the connection.
func TestTCPConnectToServerThatResetsPasses(t *testing.T) {
	h := nettest.Start(t, func(_ context.Context, c *net.TCPConn) { nettest.Abort(c) })
	for range 100 {
		_, err := runCheck(t, TCP{}, h.Addr())
		require.NoError(t, err)
	}
}

func TestTCPQuietIsNotSeenByTheServer(t *testing.T) {
	h := nettest.Start(t, nettest.Silent)
	for range 50 {
		_, err := runCheck(t, TCP{Quiet: true}, h.Addr())
		require.NoError(t, err)
	}
	nettest.Dial(t, h.Addr())
	nettest.Wait(t, 5*time.Second, "a visible connection", func() bool { return h.Accepted() > 0 })
	require.Equal(t, 1, h.Accepted())
}

func TestTCPFullAcceptQueueIsATimeout(t *testing.T) {
	address := nettest.FullBacklog(t)
	began := time.Now()
	_, err := checkWithin(t, TCP{}, Target{Address: address}, 300*time.Millisecond)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Equal(t, "connect to "+address+": timed out", err.Error())
	require.Less(t, nettest.Elapsed(began), 5*time.Second)
}

func TestTCPUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	require.NoError(t, err)
	for _, b := range []builder{TCP{}, TCP{Quiet: true}} {
		_, err = checkWithin(t, b, Target{Network: "unix", Address: path}, time.Second)
		require.NoError(t, err)
	}
	require.NoError(t, l.Close())
	_, err = checkWithin(t, TCP{}, Target{Network: "unix", Address: path}, time.Second)
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestTCPSource(t *testing.T) {
	var rec nettest.Recorder
	h := nettest.Start(t, rec.Handle)
	source := netip.MustParseAddr("127.0.0.2")
	for _, b := range []builder{TCP{}, expect("x")} {
		_, _ = checkWithin(t, b, Target{Address: h.Addr(), Source: source}, 200*time.Millisecond)
	}
	nettest.Wait(t, 5*time.Second, "two visits", func() bool { return len(rec.Conns()) == 2 })
	for _, v := range rec.Conns() {
		require.Equal(t, source, v.From.Addr())
	}
	_, err := checkWithin(t, TCP{Quiet: true}, Target{Address: h.Addr(), Source: source}, time.Second)
	require.NoError(t, err)
}

func TestTCPSourceNotLocalIsShortage(t *testing.T) {
	h := nettest.Start(t, nettest.Silent)
	_, err := checkWithin(t, TCP{}, Target{Address: h.Addr(), Source: netip.MustParseAddr("192.0.2.1")}, time.Second)
	require.ErrorIs(t, err, ErrShortage)
	require.True(t, IsShortage(err))
	require.ErrorContains(t, err, "bind to 192.0.2.1")
	_, err = checkWithin(t, TCP{}, Target{Address: h.Addr(), Source: netip.MustParseAddr("::1")}, time.Second)
	require.ErrorIs(t, err, ErrShortage)
	require.ErrorContains(t, err, "cannot be reached from ::1")
}

func TestTCPDialogue(t *testing.T) {
	for _, c := range []struct {
		name  string
		host  nettest.Handler
		steps []conf.Step
		want  string // the error; "" = pass
	}{
		{"banner", nettest.SendText("220 ready\r\n"), []conf.Step{{Expect: []byte("220")}}, ""},
		{"banner in pieces", sendPieces(20*time.Millisecond, "va", "lid"), []conf.Step{{Expect: []byte("valid")}}, ""},
		{"expression in pieces", sendPieces(20*time.Millisecond, "v", "a", "l", "id"), []conf.Step{{Regex: "va(l|x)id"}}, ""},
		{"two steps in one segment", nettest.SendText("one two"), []conf.Step{{Expect: []byte("one")}, {Expect: []byte("two")}}, ""},
		{"a match is used up", sendThenSilent("one"), []conf.Step{{Expect: []byte("one")}, {Expect: []byte("one")}}, `step 1: timed out: expected "one", got nothing`},
		{"question and answer", runScript([2]string{"PING", "+PONG\r\n"}, [2]string{"QUIT", "+OK\r\n"}), []conf.Step{
			{Send: []byte("PING\r\n"), Expect: []byte("+PONG")}, {Send: []byte("QUIT\r\n"), Regex: `^\r\n\+OK`},
		}, ""},
		{"binary", nettest.SendText("\x00\x01\xff"), []conf.Step{{Expect: []byte{1, 0xff}}}, ""},
		{"send only", nettest.Discard, []conf.Step{{Send: []byte("hello")}}, ""},
		{"answer before the question", nettest.SendText("go away"), []conf.Step{{Send: []byte(strings.Repeat("x", 100000)), Expect: []byte("go away")}}, ""},
		{"wrong answer, closed", nettest.SendText("500 no"), []conf.Step{{Expect: []byte("220")}}, `connection closed by the server: expected "220", got "500 no"`},
		{"no answer, closed", nettest.SendText(""), []conf.Step{{Expect: []byte("220")}}, `connection closed by the server: expected "220", got nothing`},
		{"wrong answer, open", sendThenSilent("500 no"), []conf.Step{{Expect: []byte("220")}}, `timed out: expected "220", got "500 no"`},
		{"no answer, open", nettest.Silent, []conf.Step{{Regex: "^2"}}, `timed out: expected a match of "^2", got nothing`},
		{"reset", nettest.ResetAfter(3, 50*time.Millisecond), []conf.Step{{Expect: []byte("\x00\x00\x00\x00")}}, `connection reset by peer: expected "\x00\x00\x00\x00", got`},
		{"expression that never matches a long reply", sendEndless("", "abcdefgh"), []conf.Step{{Regex: "x+y"}}, `reply too large (over 65536 bytes): expected a match of "x+y", got "abcdefghabc`},
		{"text far away", sendThenSilent(strings.Repeat("a", 1<<20) + "valid" + strings.Repeat("b", 1<<20) + "again"),
			[]conf.Step{{Expect: []byte("valid")}, {Regex: "^b+"}, {Expect: []byte("again")}}, ""},
		{"text that never comes", sendEndless("", "abcdefgh"), []conf.Step{{Expect: []byte("x")}}, `reply too large (over 8388608 bytes): expected "x", got "abcdefghabc`},
		{"expression that matches late", sendPieces(time.Millisecond, strings.Repeat("a", 30000), "b", "c"), []conf.Step{{Regex: "bc"}}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := nettest.Start(t, c.host)
			_, err := checkWithin(t, TCP{Steps: c.steps}, Target{Address: h.Addr()}, limitFor(c.want))
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.want)
			require.LessOrEqual(t, len(err.Error()), 400)
		})
	}
}

// A server that sends single bytes does not extend the timeout.
func TestTCPDrippedBytesDoNotExtendTheTimeout(t *testing.T) {
	h := nettest.Start(t, nettest.Trickle(1000, 100*time.Millisecond))
	began := time.Now()
	_, err := checkWithin(t, expect("never"), Target{Address: h.Addr()}, 500*time.Millisecond)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.GreaterOrEqual(t, time.Since(began), 500*time.Millisecond)
	require.Less(t, nettest.Elapsed(began), 10*time.Second, "the server sends for a hundred seconds")
}

func TestTCPEndlessReplyIsLimited(t *testing.T) {
	taken := make(chan int64, 1)
	h := nettest.Start(t, func(_ context.Context, c *net.TCPConn) {
		_ = c.SetWriteBuffer(4 << 10)
		n, _ := io.Copy(struct{ io.Writer }{c}, zeros{})
		taken <- n
	})
	_, err := runCheck(t, expect("x"), h.Addr())
	require.ErrorIs(t, err, tooLargeError(maxSkipped))
	require.Less(t, <-taken, int64(24<<20), "what the kernel's buffers hold, and no more")
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func TestTCPResetAfterAGoodReplyIsASuccess(t *testing.T) {
	h := nettest.Start(t, func(_ context.Context, c *net.TCPConn) {
		_, _ = io.WriteString(c, "valid")
		nettest.Abort(c)
	})
	for range 20 {
		_, err := runCheck(t, expect("valid"), h.Addr())
		require.NoError(t, err)
	}
}

func TestTCPCancelledCheckEndsAtOnce(t *testing.T) {
	h := nettest.Start(t, nettest.Silent)
	monitor, err := expect("x").Monitor()
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() {
		_, err := monitor(ctx, Target{Address: h.Addr()})
		done <- err
	}()
	nettest.Wait(t, 5*time.Second, "the check's connection", func() bool { return h.Accepted() == 1 })
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
}

func TestTCPInvalidRegexIsRejected(t *testing.T) {
	_, err := NewMonitor(conf.Check{Type: "tcp", Steps: []conf.Step{{}, {Regex: "("}}})
	require.ErrorContains(t, err, "step 1: ")
	_, err = NewMonitor(conf.Check{Type: "smtp", ID: "x"})
	require.ErrorContains(t, err, `unknown type "smtp"`)
}

func TestSendProxy(t *testing.T) {
	for version, want := range map[string]string{
		"v1": "PROXY TCP4 127.0.0.1 127.0.0.1 ",
		"v2": "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x07\x03\x00\x04",
	} {
		var rec nettest.Recorder
		h := nettest.Start(t, rec.Handle)
		_, err := checkWithin(t, TCP{Steps: []conf.Step{{Send: []byte("hello")}}}, Target{Address: h.Addr(), SendProxy: version}, time.Second)
		require.NoError(t, err)
		v := rec.WaitEnd(t, 0, 5*time.Second)
		require.True(t, strings.HasPrefix(string(v.Data), want), "%q", v.Data)
		require.True(t, strings.HasSuffix(string(v.Data), "hello"))
	}
}

func TestQuoteStaysShort(t *testing.T) {
	for _, s := range []string{"", "short", strings.Repeat("a", 1000), strings.Repeat("\x00", 1000), strings.Repeat("é", 500), strings.Repeat("\"", 119)} {
		q := quote([]byte(s))
		require.LessOrEqual(t, len([]rune(q)), maxQuote+3, q)
		if len(s) > maxQuote {
			require.True(t, strings.HasSuffix(q, "…"))
		}
	}
}

func TestIsShortage(t *testing.T) {
	require.True(t, IsShortage(&net.OpError{Op: "dial", Err: os.NewSyscallError("socket", syscall.EMFILE)}))
	require.True(t, IsShortage(fmt.Errorf("x: %w", os.NewSyscallError("bind", syscall.EADDRINUSE))))
	require.False(t, IsShortage(os.NewSyscallError("connect", syscall.ECONNREFUSED)))
	require.False(t, IsShortage(errors.New("too many open files")))
}

// A tcp check recognizes the usual refusals of servers that have too many connections.
func TestTCPServerWithoutRoomIsFull(t *testing.T) {
	for reply, want := range map[string]Outcome{
		"-ERR max number of clients reached\r\n":                                                  Full,
		"ERROR Too many open connections\r\n":                                                     Full,
		string(errorPacket(0, 1040, "Too many")):                                                  Full,
		string(errorPacket(0, 1129, "Host is blocked")):                                           Failed,
		"E\x00\x00\x00\x40SFATAL\x00VFATAL\x00C53300\x00Msorry, too many clients already\x00\x00": Full,
		"E\x00\x00\x00\x40SFATAL\x00VFATAL\x00C28000\x00Mno\x00\x00":                              Failed,
		"-ERR other\r\n": Failed,
		"":               Failed,
	} {
		h := nettest.Start(t, nettest.SendText(reply))
		for _, steps := range [][]conf.Step{{{Send: []byte("PING\r\n"), Expect: []byte("+PONG")}}, {{Regex: "^220"}, {Expect: []byte("x")}}} {
			_, err := runCheck(t, TCP{Steps: steps}, h.Addr())
			require.Equal(t, want, outcomeOf(err), "%q: %v", reply, err)
		}
	}
}
