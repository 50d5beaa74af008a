package udp_test

import (
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// The clients of one IPv6 prefix share the limits on flows and on new flows per second. A flow that exists is served on.
func TestUDPSourcesAreIPv6Prefixes(t *testing.T) {
	t.Parallel()
	const oneA, oneB, two = "2001:db8:0:1::1", "2001:db8:0:1:ffff::2", "2001:db8:0:2::1"
	ns := nettest.NewNamespace(t)
	for _, ip := range []string{oneA, oneB, two} {
		ns.AddAddress(ip)
	}
	host := ns.StartDatagrams("127.0.0.1:7001", nettest.ReplyWithName("a"))
	for _, limit := range []string{"max_flows_per_source", "max_sessions_per_source", "max_session_rate_per_source"} {
		for _, c := range []struct {
			prefix string
			served []string
			denied []string
		}{
			{"", []string{oneA, oneB, two, two}, []string{oneA, oneB, two}},
			{"source_prefix_v6 = 128", []string{oneA, oneB, two, oneA, oneB}, []string{oneA, oneB}},
			{"source_prefix_v6 = 48", []string{oneA, two}, []string{oneB, two, oneA}},
		} {
			t.Run(limit+" "+c.prefix, func(t *testing.T) {
				a := weirtest.NewAPI(t)
				l := weirtest.Config{Listen: "[::]:7000", Runtime: "loops = 2", Listener: limit + " = 2\nflow_timeout = \"1m\"\n" + c.prefix, Levels: weirtest.OneLevel(host.Addr() + " name=s")}.UDP(t)
				weirtest.Options{Namespace: ns}.Start(t, a.AddTo(l.String()))
				come := func(from string) *nettest.DatagramClient {
					return ns.DialDatagrams(net.JoinHostPort(from, "0"), "[::1]:7000")
				}
				begin, before := time.Now(), host.Received()
				var clients []*nettest.DatagramClient
				for _, from := range c.served {
					client := come(from)
					require.True(t, strings.HasPrefix(client.RoundTrip("x"), "a "), "%s %s: %s", limit, c.prefix, from)
					clients = append(clients, client)
				}
				for _, from := range c.denied {
					client := come(from)
					client.Send([]byte("x"))
					_, ok := client.Receive(50 * time.Millisecond)
					if ok && time.Since(begin) >= time.Second/2 && strings.Contains(limit, "rate") {
						t.Logf("a slow machine: the rate has admitted another flow after %v", time.Since(begin))
						clients = append(clients, client)
						break
					}
					require.False(t, ok, "%s %s: %s", limit, c.prefix, from)
				}
				for _, client := range clients {
					require.True(t, strings.HasPrefix(client.RoundTrip("y"), "a "), "%s %s", limit, c.prefix)
				}
				if !strings.Contains(limit, "rate") {
					require.Equal(t, before+2*len(clients), host.Received(), "no other one has reached the server")
				}
				reason := limit
				if limit == "max_flows_per_source" {
					reason = "max_sessions_per_source"
				}
				if !strings.Contains(limit, "rate") || len(clients) == len(c.served) {
					nettest.Wait(t, 5*time.Second, "the refusals", func() bool {
						return !slices.Contains([]string{"", "0"}, a.Metric(`weir_sessions_refused_total{listener="l",reason="`+reason+`"}`))
					})
				}
				endFlows(a)
			})
		}
	}
}
