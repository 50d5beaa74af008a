// UDP flows during upgrades.

package upgrade_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// A flow keeps its server and its source port through every upgrade, and no datagram of old or new flows is lost.
func TestUpgradeMovesFlows(t *testing.T) {
	t.Parallel()
	// Each reply contains the source of the datagram: the flow's own port.
	answer := func(name string) nettest.DatagramHandler {
		return func(from netip.AddrPort, data []byte, reply func([]byte)) {
			reply(fmt.Appendf(nil, "%s %s %s", name, from, data))
		}
	}
	a, b := nettest.StartDatagrams(t, answer("A")), nettest.StartDatagrams(t, answer("B"))
	l := weirtest.Config{Listener: `flow_timeout = "8s"`, Levels: weirtest.OneLevel(a.Addr()+" name=A", b.Addr()+" name=B")}.UDP(t)
	api := weirtest.NewAPI(t)
	w := weirtest.Options{Program: weirtest.CopyProgram(t)}.Start(t, api.AddTo(l.String()))
	w.Baseline = nil // flows outlast their clients
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var replies, started atomic.Int64 // started counts the endless flows with a reply
	talk := func(who string, times int) error {
		c, err := nettest.TryDialDatagrams("", l.Listen)
		if err != nil {
			return err
		}
		defer c.Close()
		var route []byte // server and port
		buf := make([]byte, 2048)
		for n := 0; times == 0 || n < times; n++ {
			select {
			case <-stop:
				return nil
			case <-time.After(time.Duration(weirtest.Scaled(10)) * time.Millisecond):
			}
			ask := fmt.Sprintf("%s:%d", who, n)
			if _, err := c.Write([]byte(ask)); err != nil {
				return err
			}
			c.SetReadDeadline(time.Now().Add(10 * time.Second))
			k, err := c.Read(buf)
			if err != nil {
				return fmt.Errorf("datagram %d: %w", n, err)
			}
			got, ok := bytes.CutSuffix(buf[:k], []byte(" "+ask))
			if !ok || n > 0 && !bytes.Equal(got, route) {
				return fmt.Errorf("datagram %d: %q after %q", n, buf[:k], route)
			}
			route = bytes.Clone(got)
			replies.Add(1)
			if n == 0 && times == 0 {
				started.Add(1)
			}
		}
		return nil
	}
	flows := weirtest.Scaled(72)
	for i := range flows {
		wg.Go(func() {
			if err := talk(fmt.Sprint("long", i), 0); err != nil {
				t.Errorf("flow %d: %v", i, err)
			}
		})
	}
	for i := range 4 { // new ones all the time
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				if err := talk(fmt.Sprint("short", i, n), 3); err != nil {
					t.Errorf("new flow %d of %d: %v", n, i, err)
				}
			}
		})
	}
	for range weirtest.Scaled(5) {
		until := replies.Load() + int64(flows)
		nettest.Wait(t, 30*time.Second, "every flow and more replies", func() bool {
			return started.Load() == int64(flows) && replies.Load() >= until
		})
		if gone := w.Upgrade(); gone > 2*time.Second && !weirtest.RaceEnabled {
			t.Errorf("the old process was there for another %v", gone)
		}
	}
	close(stop)
	wg.Wait()
	sent := fmt.Sprint(replies.Load())
	for _, name := range []string{"servers", "clients"} {
		require.Equal(t, sent, api.Metric(`weir_sent_to_`+name+`_datagrams_total{listener="l"}`), "the processes count together")
	}
	for _, r := range w.UpgradeRecords() {
		require.GreaterOrEqual(t, r.Int("sessions_moved"), flows)
		t.Logf("moved %d, left %d, in %v ms", r.Int("sessions_moved"), r.Int("sessions_left"), r["took_ms"])
	}
	require.Empty(t, w.Warnings())
	w.Signal(15)
	require.Zero(t, w.WaitExit(40*time.Second))
}

// The flows of listeners that were removed by a reload before the upgrade, or with it, continue in the new process: datagrams pass in
// both directions, from the same port. A listener that returns takes its flows back; the others are cut at their deadline.
func TestUpgradeMovesFlowsOfRemovedListeners(t *testing.T) {
	t.Parallel()
	weirtest.WithTime(t, 8*time.Second, removedListenersFlow)
}

func removedListenersFlow(t *testing.T, drain time.Duration) (inTime bool) {
	var mu sync.Mutex
	replies := map[string]func([]byte){} // to the flow's port, by the client's text
	host := nettest.StartDatagrams(t, func(from netip.AddrPort, data []byte, reply func([]byte)) {
		mu.Lock()
		replies[string(data)] = reply
		mu.Unlock()
		reply([]byte(from.String()))
	})
	l := weirtest.Config{Runtime: fmt.Sprintf("drain_timeout = %q", drain), Listener: `flow_timeout = "1m"`, Levels: weirtest.OneLevel(host.Addr() + " name=A")}.UDP(t)
	names := []string{"before", "returns", "with", "header"}
	at := map[string]string{}
	for _, name := range names {
		at[name] = nettest.ReserveDatagrams(t)
	}
	table := func(name, cluster, more string) string {
		return fmt.Sprintf("[[listener]]\nname = %q\naddress = %q\nprotocol = \"udp\"\nflow_timeout = \"1m\"\ncluster = %q\n%s", name, at[name], cluster, more)
	}
	gone := fmt.Sprintf("[cluster.gone]\n[[cluster.gone.level]]\nservers = [\"%s name=G\"]\n", host.Addr())
	trusted := "accept_proxy = true\ntrusted_proxies = [\"127.0.0.0/8\"]\n"
	api := weirtest.NewAPI(t)
	config := func(more ...string) string {
		c := l
		c.More = strings.Join(more, "")
		return api.AddTo(c.String())
	}
	all := []string{table("before", "gone", ""), table("returns", "c", "max_flows = 5\n"), table("with", "c", ""), table("header", "c", trusted), gone}
	w := weirtest.Options{Program: weirtest.CopyProgram(t)}.Start(t, config(all...))
	w.Baseline = nil                                       // flows outlast their clients
	const local = "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00" // PROXY v2: LOCAL
	clients, ports, text := map[string]*nettest.DatagramClient{}, map[string]string{}, func(name string) string {
		if name == "header" {
			return local + name
		}
		return name
	}
	for _, name := range names {
		clients[name] = nettest.DialDatagrams(t, "", at[name])
		ports[name] = clients[name].RoundTrip(text(name))
	}
	// exchange returns what the clients receive: a reply, and then a datagram that the server sends by itself.
	exchange := func(names ...string) (got []string) {
		for _, name := range names {
			clients[name].Send([]byte(text(name)))
			reply, _ := clients[name].Receive(drain)
			mu.Lock()
			send := replies[name]
			mu.Unlock()
			send([]byte("from the server to " + name))
			more, _ := clients[name].Receive(drain)
			got = append(got, string(reply), string(more))
		}
		return got
	}
	want := func(names ...string) (all []string) {
		for _, name := range names {
			all = append(all, ports[name], "from the server to "+name)
		}
		return all
	}
	removed := time.Now()
	w.Reload(config(all[2]))
	got := [][]string{exchange(names...)}
	w.WriteConfig(config())
	var sessions [][]any
	for range 2 {
		w.Upgrade()
		sessions = append(sessions, api.Sessions())
		got = append(got, exchange(names...))
	}
	stranger := nettest.DialDatagrams(t, "", at["before"])
	stranger.Send([]byte("x"))
	w.Reload(config(all[1]))
	got = append(got, exchange(names...))
	returned, onServer := api.Get("listeners", 1, "sessions"), api.Server("A")["sessions"]
	if time.Since(removed) >= drain {
		return false
	}
	for _, g := range got {
		require.Equal(t, want(names...), g)
	}
	for _, list := range sessions {
		require.Len(t, list, len(names), "the new process has the flows")
	}
	require.EqualValues(t, 1, returned)
	require.EqualValues(t, 3, onServer)
	_, answered := stranger.Receive(200 * time.Millisecond)
	require.False(t, answered, "a removed listener serves no new client")

	for _, name := range []string{"before", "with", "header"} {
		r := w.WaitRecord(3*drain, "the drain deadline of "+name, func(r weirtest.Record) bool { return r.Text("listener") == name && r.Termination() != "" })
		require.Contains(t, r.Termination(), "removed")
	}
	require.GreaterOrEqual(t, time.Since(removed), drain-50*time.Millisecond)
	require.Equal(t, want("returns"), exchange("returns"))
	require.Len(t, api.Sessions(), 1)
	require.EqualValues(t, 1, api.Server("A")["sessions"])
	api.MustDo("DELETE /v1/clusters/c/servers/A/sessions", "")
	return true
}

// A listener that gets another cluster keeps its flows, and so does an upgrade.
func TestUpgradeKeepsFlowsOfListenerWithAnotherCluster(t *testing.T) {
	t.Parallel()
	one, two := nettest.StartDatagrams(t, nettest.ReplyWithName("one")), nettest.StartDatagrams(t, nettest.ReplyWithName("two"))
	l := weirtest.Config{Runtime: `drain_timeout = "20s"`, Levels: weirtest.OneLevel(one.Addr())}.UDP(t)
	more := "[cluster.other]\n[[cluster.other.level]]\nservers = [\"" + two.Addr() + "\"]\n"
	w := weirtest.Options{Program: weirtest.CopyProgram(t)}.Start(t, l.String()+more)
	w.Baseline = nil
	c := nettest.DialDatagrams(t, "", l.Listen)
	first := c.RoundTrip("x")
	require.Equal(t, "one", first[:3])
	w.Reload(strings.Replace(l.String(), `cluster = "c"`, `cluster = "other"`, 1) + more)
	require.Equal(t, first, c.RoundTrip("x"))
	w.Upgrade()
	require.Equal(t, first, c.RoundTrip("x"))
	require.Equal(t, "two", nettest.DialDatagrams(t, "", l.Listen).RoundTrip("x")[:3])
}

// A full table evicts the same flows after an upgrade: those that were not confirmed before it.
func TestUpgradeKeepsStagesOfFlows(t *testing.T) {
	t.Parallel()
	weirtest.WithTime(t, 3*time.Second, stagesOfFlows)
}

func stagesOfFlows(t *testing.T, idle time.Duration) (inTime bool) {
	host := nettest.StartDatagrams(t, nettest.ReplyWithName("a"))
	l := weirtest.Config{Listener: fmt.Sprintf("flow_timeout = %q\nmax_flows = 2", idle), Levels: weirtest.OneLevel(host.Addr())}.UDP(t)
	w := weirtest.Options{Program: weirtest.CopyProgram(t)}.Start(t, l.String())
	confirmed, unconfirmed := nettest.DialDatagrams(t, "", l.Listen), nettest.DialDatagrams(t, "", l.Listen)
	begin := time.Now()
	first := confirmed.RoundTrip("x")
	require.Equal(t, first, confirmed.RoundTrip("x"))
	second := unconfirmed.RoundTrip("x")
	w.Upgrade()
	nettest.DialDatagrams(t, "", l.Listen).RoundTrip("x")
	kept, evicted := confirmed.RoundTrip("x"), unconfirmed.RoundTrip("x")
	late := time.Since(begin) >= idle
	w.Signal(syscall.SIGTERM)
	require.Zero(t, w.WaitExit(5*idle))
	if late {
		return false
	}
	require.Equal(t, first, kept)
	require.NotEqual(t, second, evicted)
	return true
}
