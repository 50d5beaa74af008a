package checks

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/conf"
	"weir/internal/nettest"
)

// startUDPServer starts a UDP host that answers each datagram with what answer returns.
func startUDPServer(t *testing.T, answer func(from netip.AddrPort, request string) []string) string {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	var done sync.WaitGroup
	done.Go(func() {
		buf := make([]byte, maxDatagram)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			for _, a := range answer(from, string(buf[:n])) {
				_, _ = conn.WriteToUDPAddrPort([]byte(a), from)
			}
		}
	})
	t.Cleanup(func() {
		_ = conn.Close()
		done.Wait()
	})
	return conn.LocalAddr().String()
}

func TestUDP(t *testing.T) {
	answer := func(replies ...string) func(netip.AddrPort, string) []string {
		return func(_ netip.AddrPort, request string) []string {
			if request == "ping" {
				return replies
			}
			return nil
		}
	}
	ping := conf.Step{Send: []byte("ping"), Expect: []byte("pong")}
	for _, c := range []struct {
		name   string
		answer func(netip.AddrPort, string) []string
		steps  []conf.Step
		want   string
	}{
		{"answered", answer("pong"), []conf.Step{ping}, ""},
		{"twice", answer("pong"), []conf.Step{ping, ping}, ""},
		{"by an expression", answer("pong 12"), []conf.Step{{Send: []byte("ping"), Regex: `^pong \d+$`}}, ""},
		{"after something else", answer("what?", "", "pong"), []conf.Step{ping}, ""},
		{"wrongly", answer("pang"), []conf.Step{ping}, `timed out: expected "pong", got "pang"`},
		{"not at all", answer(), []conf.Step{ping}, `timed out: expected "pong", got nothing`},
		{"in two datagrams", answer("po", "ng"), []conf.Step{ping}, `timed out: expected "pong", got "ng"`},
		{"too much", answer(strings.Repeat("x", 40000), strings.Repeat("x", 40000), "pong"), []conf.Step{ping}, `reply too large (over 65536 bytes): expected "pong", got "xxx`},
		{"without a question", answer(), nil, ""},
		{"nothing expected, silent", answer(), []conf.Step{{Send: []byte("ping")}}, ""},
		{"nothing expected, answered", answer("x"), []conf.Step{{Send: []byte("ping")}}, ""},
		{"nothing expected, then something", answer("pong"), []conf.Step{{Send: []byte("hello")}, ping}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := checkWithin(t, UDP{Steps: c.steps}, Target{Address: startUDPServer(t, c.answer)}, 300*time.Millisecond)
			if c.want == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, c.want)
			}
		})
	}
}

func TestUDPRefused(t *testing.T) {
	address := nettest.ReserveDatagrams(t)
	for _, o := range []UDP{{}, {Steps: []conf.Step{{Send: []byte("x")}}}, {Steps: []conf.Step{{Send: []byte("x"), Expect: []byte("y")}}}} {
		began := time.Now()
		_, err := runCheck(t, o, address)
		require.ErrorIs(t, err, syscall.ECONNREFUSED)
		require.Less(t, nettest.Elapsed(began), 5*time.Second, "a refusal is not waited for")
	}
}

func TestUDPSource(t *testing.T) {
	var mu sync.Mutex
	var seen netip.Addr
	address := startUDPServer(t, func(from netip.AddrPort, _ string) []string {
		mu.Lock()
		defer mu.Unlock()
		seen = from.Addr()
		return []string{"y"}
	})
	source := netip.MustParseAddr("127.0.0.2")
	o := UDP{Steps: []conf.Step{{Send: []byte("x"), Expect: []byte("y")}}}
	_, err := checkWithin(t, o, Target{Address: address, Source: source}, time.Second)
	require.NoError(t, err)
	mu.Lock()
	defer mu.Unlock()
	require.Equal(t, source, seen)
	_, err = checkWithin(t, o, Target{Address: address, Source: netip.MustParseAddr("192.0.2.1")}, time.Second)
	require.ErrorIs(t, err, ErrShortage)
}

func TestUDPSendProxy(t *testing.T) {
	address := startUDPServer(t, func(_ netip.AddrPort, request string) []string {
		if strings.HasPrefix(request, "\r\n\r\n\x00\r\nQUIT\n\x20") && strings.HasSuffix(request, "ping") {
			return []string{"pong"}
		}
		return nil
	})
	o := UDP{Steps: []conf.Step{{Send: []byte("ping"), Expect: []byte("pong")}, {Send: []byte("ping"), Expect: []byte("pong")}}}
	_, err := checkWithin(t, o, Target{Address: address, SendProxy: "v2"}, time.Second)
	require.NoError(t, err)
}

func TestUDPCancelled(t *testing.T) {
	address := startUDPServer(t, func(netip.AddrPort, string) []string { return nil })
	monitor, err := UDP{}.Monitor()
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = monitor(ctx, Target{Address: address})
	require.ErrorIs(t, err, context.Canceled)
}
