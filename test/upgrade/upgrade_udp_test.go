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
	w := weirtest.Options{Program: weirtest.CopyProgram(t)}.Start(t, l.String())
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
	for _, r := range w.UpgradeRecords() {
		require.GreaterOrEqual(t, r.Int("sessions_moved"), flows)
		t.Logf("moved %d, left %d, in %v ms", r.Int("sessions_moved"), r.Int("sessions_left"), r["took_ms"])
	}
	require.Empty(t, w.Warnings())
	w.Signal(15)
	require.Zero(t, w.WaitExit(40*time.Second))
}

// The flows of a listener that was removed by a reload before the upgrade, or with it, continue in the old process.
func TestUpgradeKeepsFlowsOfRemovedListeners(t *testing.T) {
	t.Parallel()
	weirtest.WithTime(t, 3*time.Second, flowsOfRemovedListeners)
}

func flowsOfRemovedListeners(t *testing.T, idle time.Duration) (inTime bool) {
	timeout := fmt.Sprintf("flow_timeout = %q", idle)
	host := nettest.StartDatagrams(t, nettest.ReplyWithName("a"))
	l := weirtest.Config{Listener: timeout, Levels: weirtest.OneLevel(host.Addr())}.UDP(t)
	before, now := nettest.ReserveDatagrams(t), nettest.ReserveDatagrams(t)
	udp := func(name, listen string) string {
		return strings.Replace(weirtest.ListenerTables(name, listen, host.Addr()), "cluster = ", "protocol = \"udp\"\n"+timeout+"\ncluster = ", 1)
	}
	l.More = udp("before", before) + udp("now", now)
	w := weirtest.Options{Program: weirtest.CopyProgram(t)}.Start(t, l.String())
	w.Baseline = nil // flows outlast their clients
	clients, answers, again := []*nettest.DatagramClient{}, []string{}, []string{}
	begin := time.Now()
	for _, at := range []string{before, now} {
		c := nettest.DialDatagrams(t, "", at)
		clients, answers = append(clients, c), append(answers, c.RoundTrip("x"))
	}
	l.More = udp("now", now)
	w.Reload(l.String())
	l.More = ""
	w.WriteConfig(l.String())
	w.SignalUpgrade("upgrade")
	for _, c := range clients {
		again = append(again, c.RoundTrip("x"))
	}
	nettest.DialDatagrams(t, "", l.Listen).RoundTrip("x")
	late := time.Since(begin) >= idle
	w.WaitSuccessor(w.UpgradeRecords()[0].Int("pid"))
	w.Signal(syscall.SIGTERM)
	require.Zero(t, w.WaitExit(5*idle))
	if late {
		return false
	}
	require.Equal(t, answers, again)
	return true
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
