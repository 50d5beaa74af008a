// UDP under floods and shortages: unanswered flows stay bounded, and answered flows are not affected.

package udp_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// Thousands of sources with one unanswered datagram each exhaust neither descriptors nor memory, and displace no
// answered flow.
func TestUDPFlood(t *testing.T) {
	t.Parallel()
	ns := nettest.NewNamespace(t)
	host := ns.StartDatagrams("127.0.0.1:9000", func(_ netip.AddrPort, data []byte, reply func([]byte)) {
		if data[0] == 'a' {
			reply(data)
		}
	})
	const flows = 300
	l := weirtest.Config{Listen: "127.0.0.1:5300", Levels: weirtest.OneLevel(host.Addr()), Listener: fmt.Sprintf("max_flows = %d\nflow_timeout = \"4s\"", flows)}.UDP(t)
	w := weirtest.Options{Namespace: ns}.Start(t, l.String())
	var clients []*nettest.DatagramClient
	for range 50 {
		c := ns.DialDatagrams("", l.Listen)
		require.Equal(t, "a", c.RoundTrip("a"))
		clients = append(clients, c)
	}
	before := w.Process().RSS(t)
	memory := w.WatchMemory()
	to, err := net.ResolveUDPAddr("udp", l.Listen)
	require.NoError(t, err)
	sources := weirtest.Scaled(20_000)
	ns.Do(func() { // sockets opened here are in the namespace
		for i := range sources {
			from := &net.UDPAddr{IP: net.IPv4(127, byte(1+i>>16), byte(i>>8), byte(i)), Port: 20_000 + i%10_000}
			c, err := net.DialUDP("udp", from, to)
			if errors.Is(err, syscall.EADDRINUSE) {
				continue
			}
			if err == nil {
				_, err = c.Write([]byte("x"))
				c.Close()
			}
			if err != nil {
				t.Errorf("source %d: %v", i, err)
				return
			}
			if i%1000 == 0 {
				for _, c := range clients {
					if answer := c.RoundTrip("a"); answer != "a" {
						t.Errorf("%q", answer)
					}
				}
				if n := w.DescriptorKinds()["socket"]; n > flows+w.Baseline["socket"]+8 {
					t.Errorf("%d sockets", n)
				}
			}
		}
	})
	for _, c := range clients {
		require.Equal(t, "a", c.RoundTrip("a"))
	}
	require.Equal(t, "a", ns.DialDatagrams("", l.Listen).RoundTrip("a"), "a new flow replaces an unanswered one")
	require.Less(t, memory()-before, int64(32<<20))
	evicted := w.Records(func(r weirtest.Record) bool { return r.Termination() == "unanswered evicted" })
	require.NotEmpty(t, evicted)
	for _, r := range evicted {
		require.Zero(t, r.Int("bytes_down"))
	}
}

// A table full of confirmed flows admits no new flow.
func TestUDPTableFull(t *testing.T) {
	t.Parallel()
	host := nettest.StartDatagrams(t, nettest.EchoDatagram)
	w, addr := weirtest.ServeUDP(t, weirtest.Config{Levels: weirtest.OneLevel(host.Addr()), Listener: "max_flows = 3\nflow_timeout = \"4s\""})
	for range 3 {
		c := nettest.DialDatagrams(t, "", addr)
		c.RoundTrip("x")
		c.RoundTrip("x")
	}
	late := nettest.DialDatagrams(t, "", addr)
	late.Send([]byte("x"))
	_, ok := late.Receive(100 * time.Millisecond)
	require.False(t, ok)
	w.WaitRecord(5*time.Second, "the refusal", func(r weirtest.Record) bool { return r.IsEvent("session_refused") && r.Text("reason") == "max_flows" })
	nettest.Wait(t, 15*time.Second, "room", func() bool {
		late.Write([]byte("x"))
		_, ok := late.Receive(300 * time.Millisecond)
		return ok
	})
}

// A full table evicts an unanswered flow of any loop: the first datagrams of the new flow are served, in order.
func TestUDPFullTableEvictsImmediately(t *testing.T) {
	t.Parallel()
	host := nettest.StartDatagrams(t, func(_ netip.AddrPort, data []byte, reply func([]byte)) {
		if string(data) != "silent" {
			reply(data)
		}
	})
	_, addr, a := weirtest.ServeAPI(t, weirtest.Config{Levels: weirtest.OneLevel(host.Addr() + " name=s"), Listener: "max_flows = 2\nflow_timeout = \"1m\""}.UDP(t))
	kept := nettest.DialDatagrams(t, "", addr)
	for range weirtest.Scaled(20) {
		require.Equal(t, "x", kept.RoundTrip("x"))
		nettest.DialDatagrams(t, "", addr).Send([]byte("silent"))
		nettest.Wait(t, 5*time.Second, "a flow without an answer", func() bool {
			return strings.Contains(a.MustDo("GET /v1/sessions", ""), `"unanswered"`)
		})
		late := nettest.DialDatagrams(t, "", addr)
		for _, text := range []string{"1", "2", "3"} {
			late.Send([]byte(text))
		}
		for _, text := range []string{"1", "2", "3"} {
			got, ok := late.Receive(5 * time.Second)
			require.True(t, ok)
			require.Equal(t, text, string(got))
		}
		require.Equal(t, "x", kept.RoundTrip("x"))
		require.Contains(t, a.MustDo("DELETE /v1/clusters/c/servers/s/sessions", ""), `"sessions_cut":2`, "no more than the table holds")
	}
}

// Datagrams of the largest size to a server that reads nothing are dropped and counted, and cost no memory.
func TestUDPStalledServer(t *testing.T) {
	t.Parallel()
	stalled, err := nettest.ListenDatagrams("127.0.0.1:0")
	require.NoError(t, err)
	defer stalled.Close()
	l := weirtest.Config{Levels: weirtest.OneLevel(stalled.LocalAddr().String()), Listener: `flow_timeout = "5s"`}.UDP(t)
	w, addr, a := weirtest.ServeAPI(t, l)
	memory := w.WatchMemory()
	before := w.Process().RSS(t)
	c := nettest.DialDatagrams(t, "", addr)
	data := bytes.Repeat([]byte{1}, 65507)
	sent := 0
	for range weirtest.Scaled(20_000) {
		if _, err := c.Write(data); err == nil {
			sent++
		}
	}
	require.Less(t, memory()-before, int64(32<<20))
	var list []map[string]any
	require.NoError(t, json.Unmarshal([]byte(a.MustDo("GET /v1/sessions", "")), &list))
	require.Len(t, list, 1)
	require.Equal(t, "unanswered", list[0]["phase"])
	// weir has sent every datagram that it received; the rest is counted as dropped.
	nettest.Wait(t, 20*time.Second, "every datagram to be accounted for", func() bool {
		var list []map[string]any
		require.NoError(t, json.Unmarshal([]byte(a.MustDo("GET /v1/sessions", "")), &list))
		if len(list) == 0 {
			return false
		}
		relayed := int(list[0]["bytes_up"].(float64)) / len(data)
		c.Write([]byte{}) // keeps the flow
		return relayed+a.DroppedDatagrams("receive_buffer")+a.DroppedDatagrams("send") == sent
	})
}

// Replies that find the flow's socket full, because the process does not run, are counted as dropped; the others are
// forwarded. The socket holds a second of an ordinary flow.
func TestUDPRepliesWhileProcessIsPaused(t *testing.T) {
	t.Parallel()
	const size = 1000
	burst := make(chan int)
	host := nettest.StartDatagrams(t, func(_ netip.AddrPort, _ []byte, reply func([]byte)) {
		for n := range burst {
			for range n {
				reply(make([]byte, size))
			}
			burst <- n
		}
	})
	w, addr, a := weirtest.ServeAPI(t, weirtest.Config{Levels: weirtest.OneLevel(host.Addr()), Listener: `flow_timeout = "5s"`}.UDP(t))
	defer close(burst)
	c := nettest.DialDatagrams(t, "", addr)
	c.Send([]byte("x"))
	sent := 0
	say := func(n int) {
		burst <- n
		<-burst
		sent += n
	}
	passed := func() int {
		var list []map[string]any
		require.NoError(t, json.Unmarshal([]byte(a.MustDo("GET /v1/sessions", "")), &list))
		require.Len(t, list, 1)
		return int(list[0]["bytes_down"].(float64)) / size
	}
	say(1)
	nettest.Wait(t, 5*time.Second, "the flow", func() bool { return passed() == 1 })
	for _, n := range []int{400, 5000} {
		w.Signal(syscall.SIGSTOP)
		say(n)
		w.Signal(syscall.SIGCONT)
		lost := 0
		nettest.Wait(t, 20*time.Second, "every reply to be accounted for", func() bool {
			lost = a.DroppedDatagrams("receive_buffer")
			return passed()+lost+a.DroppedDatagrams("send") == sent
		})
		require.Equal(t, n == 5000, lost > 0, lost)
	}
}

// A send that fails for lack of buffers costs only the datagrams of that call, which are counted.
func TestUDPSendFails(t *testing.T) {
	t.Parallel()
	host := nettest.StartDatagrams(t, nettest.EchoDatagram)
	w, addr, a := weirtest.ServeAPI(t, weirtest.Config{Levels: weirtest.OneLevel(host.Addr() + " name=s"), Listener: `flow_timeout = "1m"`}.UDP(t))
	c := nettest.DialDatagrams(t, "", addr)
	c.RoundTrip("before")
	for _, errno := range []string{"ENOBUFS", "EAGAIN", "EPERM"} {
		before := a.DroppedDatagrams("send")
		_, stop := w.InjectErrors("sendto,sendmmsg", errno)
		const sent = 130
		answered := 0
		count := func(within time.Duration) bool {
			_, ok := c.Receive(within)
			if ok {
				answered++
			}
			return ok
		}
		for range sent {
			c.Send([]byte("x"))
			count(10 * time.Millisecond)
		}
		injected := stop()
		require.Positive(t, injected)
		dropped := 0
		nettest.Wait(t, 10*time.Second, "every datagram to be accounted for, "+errno, func() bool {
			for count(20 * time.Millisecond) {
			}
			dropped = a.DroppedDatagrams("send") - before
			return answered+dropped >= sent
		})
		require.Equal(t, sent, answered+dropped, errno)
		require.GreaterOrEqual(t, dropped, injected, errno) // one call may be for several
		require.Equal(t, "after", c.RoundTrip("after"))
	}
	require.Len(t, w.Records(func(r weirtest.Record) bool { return r.Termination() != "" }), 0)
	endFlows(a)
}

// Thousands of short flows leak nothing.
func TestUDPManyShortFlows(t *testing.T) {
	t.Parallel()
	host := nettest.StartDatagrams(t, nettest.EchoDatagram)
	refusing := nettest.ReserveDatagrams(t)
	// A reply after flow_timeout has no flow any more: on a busy machine, the server may take seconds.
	l := weirtest.Config{Listener: "flow_timeout = \"5s\"", Cluster: "max_fails = 0", Levels: [][]string{{refusing, host.Addr()}}}.UDP(t)
	w, addr, a := weirtest.ServeAPI(t, l)
	var group weirtest.Group
	for range 8 {
		group.Go(func() error {
			for range weirtest.Scaled(600) {
				c, err := nettest.TryDialDatagrams("", addr)
				if err != nil {
					return err
				}
				c.Write([]byte("x"))
				c.SetReadDeadline(time.Now().Add(5 * time.Second))
				_, err = c.Read(make([]byte, 9))
				c.Close()
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	require.NoError(t, group.Wait())
	w.WaitSockets(15 * time.Second)
	require.Equal(t, "0", a.Metric(`weir_sessions{listener="l"}`))
	require.EqualValues(t, 0, a.Get("sessions"))
	require.Equal(t, "0", a.Metric(fmt.Sprintf(`weir_server_sessions{cluster="c",server=%q}`, host.Addr())))
}

// Flows appear as sessions in the API and can be drained and cut.
func TestUDPFlowsInAPI(t *testing.T) {
	t.Parallel()
	host := nettest.StartDatagrams(t, nettest.ReplyWithName("a"))
	l := weirtest.Config{Levels: weirtest.OneLevel(host.Addr() + " name=s"), Listener: `flow_timeout = "5s"`}.UDP(t)
	w, addr, a := weirtest.ServeAPI(t, l)
	c := nettest.DialDatagrams(t, "", addr)
	first := c.RoundTrip("hello")
	var list []map[string]any
	require.NoError(t, json.Unmarshal([]byte(a.MustDo("GET /v1/sessions", "")), &list))
	require.Len(t, list, 1)
	require.Equal(t, "relay", list[0]["phase"])
	require.Equal(t, c.LocalAddr().String(), list[0]["client"])
	require.EqualValues(t, len("hello"), list[0]["bytes_up"])
	require.EqualValues(t, len(first), list[0]["bytes_down"])
	require.Equal(t, "s", list[0]["server"])
	a.MustDo(fmt.Sprintf("DELETE /v1/sessions/%.0f", list[0]["id"]), "")
	require.Equal(t, "relay cut_operator", w.SessionRecord(c).Termination())
	second := c.RoundTrip("hello")
	require.NotEqual(t, first, second)
	a.MustDo("DELETE /v1/clusters/c/servers/s/sessions", "")
	require.NotEqual(t, second, c.RoundTrip("hello"))
	// A stop lets flows continue, admits no new ones, and cuts the rest at the end.
	w.Signal(syscall.SIGTERM)
	w.WaitRecord(5*time.Second, "the stop", func(r weirtest.Record) bool { return r.IsEvent("stopping") })
	late := nettest.DialDatagrams(t, "", addr)
	nettest.Wait(t, 5*time.Second, "new flows to be rejected", func() bool {
		late.Write([]byte("x"))
		_, served := late.Receive(200 * time.Millisecond)
		return !served
	})
	c.RoundTrip("still there")
	require.Equal(t, 0, w.WaitExit(20*time.Second))
}
