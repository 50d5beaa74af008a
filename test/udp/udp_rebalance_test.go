// Flows that change their server while their client keeps sending.

package udp_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

func silentDatagram(netip.AddrPort, []byte, func([]byte)) {}

// One client's one-way datagrams are spread over all servers, exactly and without a loss, within the limits of one flow.
func TestOneWayDatagramsAreSpread(t *testing.T) {
	t.Parallel()
	for _, requests := range []int{1, 7, 50} {
		var hosts []*nettest.DatagramHost
		var servers []string
		for range 4 {
			h := nettest.StartDatagrams(t, silentDatagram)
			hosts, servers = append(hosts, h), append(servers, h.Addr())
		}
		_, addr, a := weirtest.ServeAPI(t, weirtest.Config{
			Levels: weirtest.OneLevel(servers...), Listener: fmt.Sprintf("requests = %d\nmax_flows = 1\nmax_flows_per_source = 1\nflow_timeout = \"2s\"", requests),
		}.UDP(t))
		c := nettest.DialDatagrams(t, "", addr)
		n := 4 * requests * 10
		for i := range n {
			c.Send([]byte("log line"))
			if i%20 == 19 { // within the buffers
				nettest.Wait(t, 5*time.Second, "the datagrams", func() bool {
					sum := 0
					for _, h := range hosts {
						sum += h.Received()
					}
					return sum == i+1
				})
			}
		}
		for _, h := range hosts {
			nettest.Wait(t, 5*time.Second, fmt.Sprintf("requests = %d: an equal share", requests), func() bool { return h.Received() == n/4 })
		}
		require.Len(t, a.Sessions(), 1)
	}
}

// A reply that comes after its flow was balanced again is delivered, for another second.
func TestLateReplyToOldPort(t *testing.T) {
	t.Parallel()
	late := nettest.StartDatagrams(t, func(_ netip.AddrPort, data []byte, reply func([]byte)) {
		copied := slices.Clone(data)
		time.AfterFunc(150*time.Millisecond, func() { reply(copied) })
	})
	prompt := nettest.StartDatagrams(t, nettest.EchoDatagram)
	w, addr := weirtest.ServeUDP(t, weirtest.Config{Levels: weirtest.OneLevel(late.Addr(), prompt.Addr()), Listener: "requests = 1\nflow_timeout = \"2s\""})
	c := nettest.DialDatagrams(t, "", addr)
	var sent, got []string
	for i := range 8 {
		sent = append(sent, fmt.Sprint(i))
		c.Send([]byte(sent[i]))
	}
	for range sent {
		reply, ok := c.Receive(5 * time.Second)
		require.True(t, ok, "got %q", got)
		got = append(got, string(reply))
	}
	require.ElementsMatch(t, sent, got)
	w.WaitSockets(5 * time.Second)
}

// A busy flow is balanced again at the age, and only then.
func TestMaxFlowAge(t *testing.T) {
	t.Parallel()
	a, b := nettest.StartDatagrams(t, nettest.ReplyWithName("a")), nettest.StartDatagrams(t, nettest.ReplyWithName("b"))
	_, addr := weirtest.ServeUDP(t, weirtest.Config{Levels: weirtest.OneLevel(a.Addr(), b.Addr()), Listener: "max_flow_age = \"700ms\""})
	c := nettest.DialDatagrams(t, "", addr)
	begin := time.Now()
	first := c.RoundTrip("x")
	server := first
	for server == first {
		time.Sleep(10 * time.Millisecond)
		server = c.RoundTrip("x")
	}
	weirtest.RequireBetween(t, 700*time.Millisecond, time.Since(begin))
	require.NotEqual(t, first[:1], server[:1])
}

// A busy flow leaves a draining server after drain_timeout, and a lower level once the better one has been back as long.
// Maintenance moves it at once, whatever on_down says.
func TestBusyFlowLeavesServer(t *testing.T) {
	t.Parallel()
	hosts := map[string]*nettest.DatagramHost{}
	for _, name := range []string{"a", "b"} {
		hosts[name] = nettest.StartDatagrams(t, nettest.ReplyWithName(name))
	}
	_, addr, a := weirtest.ServeAPI(t, weirtest.Config{
		Runtime: "drain_timeout = \"2s\"", Cluster: "on_down = \"keep\"",
		Levels: [][]string{{hosts["a"].Addr() + " name=a"}, {hosts["b"].Addr() + " name=b"}},
	}.UDP(t))
	c := nettest.DialDatagrams(t, "", addr)
	begin := time.Now()
	leaves := func(from, to string) time.Duration {
		t.Helper()
		answer := ""
		nettest.Wait(t, 10*time.Second, "the flow to move to "+to, func() bool {
			answer, _, _ = strings.Cut(c.RoundTrip("x"), " ")
			require.Contains(t, []string{from, to}, answer)
			return answer == to
		})
		return time.Since(begin)
	}
	leaves("a", "a")
	state := func(s string) {
		begin = time.Now()
		a.MustDo("PATCH /v1/clusters/c/servers/a", fmt.Sprintf(`{"state": %s}`, s))
	}
	state(`"drain"`)
	weirtest.RequireBetween(t, 2*time.Second, leaves("a", "b"))
	state("null")
	weirtest.RequireBetween(t, 2*time.Second, leaves("b", "a"))
	state(`"maint"`)
	leaves("a", "b")
	require.Less(t, nettest.Elapsed(begin), 1500*time.Millisecond)
}

// A server, and a listener, that are removed and return before the drain deadline take their flows back: the flows keep
// their ports, count, and are not cut at that deadline.
func TestServerThatReturnsKeepsItsFlows(t *testing.T) {
	t.Parallel()
	one, two := nettest.StartDatagrams(t, nettest.ReplyWithName("one")), nettest.StartDatagrams(t, nettest.ReplyWithName("two"))
	l := weirtest.Config{Runtime: "drain_timeout = \"2s\"", Levels: weirtest.OneLevel(one.Addr()+" name=one", two.Addr()+" name=two")}.UDP(t)
	w, addr, a := weirtest.ServeAPI(t, l)
	l.Listen = addr
	c := nettest.DialDatagrams(t, "", addr)
	first := c.RoundTrip("x")
	require.Equal(t, "one", first[:3])
	without, elsewhere := l, l
	without.Levels = weirtest.OneLevel(two.Addr() + " name=two")
	elsewhere.Listen = nettest.ReserveDatagrams(t)
	for _, changed := range []weirtest.Config{without, elsewhere} {
		w.Reload(a.AddTo(changed.String()))
		removed := time.Now()
		require.Equal(t, first, c.RoundTrip("x"))
		w.Reload(a.AddTo(l.String()))
		require.Less(t, time.Since(removed), 2*time.Second, "a slow machine")
		for time.Since(removed) < 3*time.Second {
			require.Equal(t, first, c.RoundTrip("x"))
			time.Sleep(20 * time.Millisecond)
		}
		require.EqualValues(t, 1, a.Server("one")["sessions"])
	}
	require.Equal(t, "1", a.Metric(`weir_sessions{listener="l"}`))
	require.Empty(t, w.Records(func(r weirtest.Record) bool { return strings.HasPrefix(r.Text("reason"), "cut_") }))
}

// A flow whose server is in drain moves to another server with the first datagram after the deadline of the drain. It does
// not end.
func TestFlowMovesAtDrainDeadline(t *testing.T) {
	t.Parallel()
	a, b := nettest.StartDatagrams(t, nettest.EchoDatagram), nettest.StartDatagrams(t, nettest.EchoDatagram)
	_, addr, api := weirtest.ServeAPI(t, weirtest.Config{
		Cluster: "close_quiet = \"10ms\"", Listener: "flow_timeout = \"2s\"", Levels: weirtest.OneLevel(a.Addr()+" name=A", b.Addr()+" name=B state=drain"),
	}.UDP(t))
	c := nettest.DialDatagrams(t, "", addr)
	require.Equal(t, "1", c.RoundTrip("1"))
	api.MustDo("PATCH /v1/clusters/c/servers/B", `{"state": "ready"}`)
	began := time.Now()
	api.MustDo("PATCH /v1/clusters/c/servers/A", `{"state": "drain", "deadline": "1s"}`)
	nettest.Wait(t, 10*time.Second, "the flow to move", func() bool {
		require.Equal(t, "2", c.RoundTrip("2"))
		return b.Received() > 0
	})
	weirtest.RequireBetween(t, time.Second, time.Since(began))
	require.Len(t, api.Sessions(), 1)
}
