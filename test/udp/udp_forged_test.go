// Forged source addresses: a flow that has not proved its client gives way to a new one.

package udp_test

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// forger sends datagrams from ever new addresses of 127.0.0.0/8.
type forger struct {
	t    *testing.T
	conn *net.UDPConn
	to   netip.AddrPort
	sent uint32
}

func newForger(t *testing.T, ns *nettest.Namespace, to string) *forger {
	f := &forger{t: t, to: netip.MustParseAddrPort(to)}
	open := func() {
		c, err := nettest.ListenDatagrams("0.0.0.0:0")
		require.NoError(t, err)
		t.Cleanup(func() { c.Close() })
		f.conn = c
	}
	if ns == nil {
		open()
	} else {
		ns.Do(open)
	}
	return f
}

func (f *forger) send(text string) bool {
	f.sent++
	var ip [4]byte
	binary.BigEndian.PutUint32(ip[:], 127<<24|1<<16|f.sent)
	return assertNoError(f.t, nettest.SendDatagramFrom(f.conn, netip.AddrFrom4(ip), f.to, []byte(text)))
}

// assertNoError reports an error on any goroutine.
func assertNoError(t *testing.T, err error) bool {
	if err != nil {
		t.Error(err)
	}
	return err == nil
}

// Datagrams from forged addresses, which the server answers, keep no new client out.
func TestForgedDatagramsKeepNoClientOut(t *testing.T) {
	t.Parallel()
	host := nettest.StartDatagrams(t, nettest.EchoDatagram)
	_, addr, a := weirtest.ServeAPI(t, weirtest.Config{Levels: weirtest.OneLevel(host.Addr() + " name=s"), Listener: "max_flows = 40\nflow_timeout = \"1m\""}.UDP(t))
	kept := nettest.DialDatagrams(t, "", addr)
	first := kept.RoundTrip("1")
	require.Equal(t, first, kept.RoundTrip("1"))
	id := sessionOf(a, kept)["id"]
	f := newForger(t, nil, addr)
	for range 227 {
		f.send("x")
	}
	nettest.Wait(t, 5*time.Second, "a full table", func() bool { return host.Received() >= 100 && len(a.Sessions()) == 40 })
	for range 60 {
		c := nettest.DialDatagrams(t, "", addr)
		require.Equal(t, "hello", c.RoundTrip("hello"))
	}
	require.Equal(t, "1", kept.RoundTrip("1"))
	require.Equal(t, id, sessionOf(a, kept)["id"], "a confirmed flow stays")
	require.Len(t, a.Sessions(), 40)
	endFlows(a)
}

// endFlows ends the flows of server s.
func endFlows(a weirtest.API) {
	a.T.Helper()
	a.MustDo("DELETE /v1/clusters/c/servers/s/sessions", "")
}

// sessionOf returns the session of a client in the API, or nil.
func sessionOf(a weirtest.API, c *nettest.DatagramClient) map[string]any {
	for _, s := range a.Sessions() {
		if s := s.(map[string]any); s["client"] == c.LocalAddr().String() {
			return s
		}
	}
	return nil
}

// A full table evicts unanswered flows first, then unconfirmed ones, each by age, and never a confirmed one.
func TestFullFlowTableEvictsByStage(t *testing.T) {
	t.Parallel()
	host := nettest.StartDatagrams(t, func(_ netip.AddrPort, data []byte, reply func([]byte)) {
		if string(data) != "silent" {
			reply(data)
		}
	})
	w, addr, a := weirtest.ServeAPI(t, weirtest.Config{
		Levels: weirtest.OneLevel(host.Addr() + " name=s"), Listener: "max_flows = 6\nflow_timeout = \"1m\"",
	}.UDP(t))
	dial := func() *nettest.DatagramClient { return nettest.DialDatagrams(t, "", addr) }
	confirmed := []*nettest.DatagramClient{dial(), dial()}
	for _, c := range confirmed {
		c.RoundTrip("1")
		c.RoundTrip("2")
	}
	unconfirmed := []*nettest.DatagramClient{dial(), dial()}
	for _, c := range unconfirmed {
		c.RoundTrip("1")
	}
	silent := []*nettest.DatagramClient{dial(), dial()}
	for i, c := range silent {
		c.Send([]byte("silent"))
		nettest.Wait(t, 5*time.Second, "the flow", func() bool { return len(a.Sessions()) == 5+i })
	}
	for i, victim := range slices.Concat(silent, unconfirmed) {
		c := dial()
		c.RoundTrip("1")
		c.RoundTrip("2")
		phase := "unanswered"
		if i >= len(silent) {
			phase = "relay"
		}
		require.Equal(t, phase+" evicted", w.SessionRecord(victim).Termination(), "eviction %d", i)
		require.Len(t, a.Sessions(), 6)
	}
	for _, c := range confirmed {
		require.NotNil(t, sessionOf(a, c))
	}
	late := dial()
	late.Send([]byte("1"))
	_, served := late.Receive(100 * time.Millisecond)
	require.False(t, served, "every flow is confirmed")
	nettest.Wait(t, 5*time.Second, "the drop", func() bool { return a.DroppedDatagrams("refused") > 0 })
	require.Len(t, w.Records(func(r weirtest.Record) bool { return strings.HasSuffix(r.Termination(), " evicted") }), 4)
	endFlows(a)
}

// New clients are served while forged datagrams fill the table, whether the server answers those or not.
func TestNewClientsDuringForgedFlood(t *testing.T) {
	t.Parallel()
	for _, answered := range []bool{true, false} {
		t.Run(fmt.Sprintf("answered=%v", answered), func(t *testing.T) {
			t.Parallel()
			ns := nettest.NewNamespace(t)
			host := ns.StartDatagrams("127.0.0.1:9000", func(_ netip.AddrPort, data []byte, reply func([]byte)) {
				if data[0] == 'c' || answered {
					copied := slices.Clone(data)
					time.AfterFunc(5*time.Millisecond, func() { reply(copied) }) // as a server farther away
				}
			})
			l := weirtest.Config{Listen: "127.0.0.1:5300", Levels: weirtest.OneLevel(host.Addr()), Listener: "max_flows = 500\nflow_timeout = \"4s\""}.UDP(t)
			weirtest.Options{Namespace: ns}.Start(t, l.String())
			stop := make(chan struct{})
			var flood sync.WaitGroup
			flood.Go(func() { // 1,000 datagrams per second
				f := newForger(t, ns, l.Listen)
				tick := time.NewTicker(time.Millisecond)
				defer tick.Stop()
				for {
					select {
					case <-stop:
						return
					case <-tick.C:
					}
					if !f.send("x") {
						return
					}
				}
			})
			clients, served := 0, 0
			for end := time.Now().Add(time.Duration(weirtest.Scaled(10)) * time.Second); time.Now().Before(end); {
				c := ns.DialDatagrams("", l.Listen)
				clients++
				c.Send([]byte("c"))
				if _, ok := c.Receive(time.Second); ok {
					served++
				}
				c.Close()
			}
			close(stop)
			flood.Wait()
			t.Logf("%d of %d clients served", served, clients)
			require.LessOrEqual(t, clients-served, 1+clients/100, "%d of %d clients served", served, clients)
		})
	}
}
