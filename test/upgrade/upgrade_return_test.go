// Listeners and servers that are removed before an upgrade and return after it.

package upgrade_test

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// A listener and a server that are removed before an upgrade and return after it, before their drain deadline, take their
// sessions back: these count for limits and are not cut.
func TestUpgradeBeforeReturnKeepsSessions(t *testing.T) {
	t.Parallel()
	weirtest.WithTime(t, 4*time.Second, sessionsReturn)
}

func sessionsReturn(t *testing.T, drain time.Duration) (inTime bool) {
	host, other := nettest.Start(t, nettest.Greet("A", nettest.Echo)), nettest.Start(t, nettest.Greet("B", nettest.Echo))
	l := weirtest.Config{
		Listen: nettest.Reserve(t), Runtime: fmt.Sprintf("drain_timeout = %q", drain), Cluster: "max_sessions = 1",
		Levels: weirtest.OneLevel(host.Addr()+" name=a", other.Addr()+" name=b"),
	}
	without := l
	without.Levels = weirtest.OneLevel(other.Addr() + " name=b")
	first, second := nettest.Reserve(t), nettest.Reserve(t)
	l.More = "[[listener]]\nname = \"more\"\naddress = [\"" + first + "\", \"" + second + "\"]\ncluster = \"more\"\nmax_sessions = 3\n" +
		"max_sessions_per_source = 2\n[cluster.more]\n[[cluster.more.level]]\nservers = [\"" + host.Addr() + " name=m\"]\n"
	api := weirtest.NewAPI(t)
	w := weirtest.Options{Program: weirtest.CopyProgram(t)}.Start(t, api.AddTo(l.String()))
	onServer, onFirst, onSecond := nettest.Dial(t, l.Listen), nettest.Dial(t, first), nettest.Dial(t, second)
	require.Equal(t, "A", weirtest.ReadByte(t, onServer))
	require.Equal(t, "A", weirtest.ReadByte(t, onFirst))
	require.Equal(t, "A", weirtest.ReadByte(t, onSecond))

	removed := time.Now()
	w.Reload(api.AddTo(without.String()))
	w.Upgrade()
	upgraded := time.Now()
	w.Reload(api.AddTo(l.String()))
	if time.Since(removed) >= drain {
		return false
	}
	require.EqualValues(t, 1, api.Server("a")["sessions"])
	require.EqualValues(t, 2, api.Get("clusters", 1, "sessions"))
	for address := range 2 {
		require.EqualValues(t, 1, api.Get("listeners", 1+address, "sessions"))
	}
	require.Equal(t, "B", weirtest.DialAndReadByte(t, l.Listen), "a is at max_sessions")
	_, served := weirtest.DialServed(t, first, 5*time.Second)
	require.False(t, served, "the source has two sessions")

	nettest.Wait(t, 3*drain, "the drain deadlines to pass", func() bool { return time.Since(upgraded) > drain+time.Second })
	require.NoError(t, weirtest.PingPong(onServer))
	require.NoError(t, weirtest.PingPong(onFirst))
	nettest.Abort(onSecond)
	nettest.Wait(t, 15*time.Second, "the slot to be free", func() bool {
		c, served := weirtest.DialServed(t, second, 15*time.Second)
		if served {
			nettest.Abort(c)
		}
		return served
	})
	api.MustDo("DELETE /v1/clusters/c/servers/a/sessions", "")
	_, end := nettest.ReadToEnd(onServer, 5*time.Second)
	require.Equal(t, nettest.Reset, end)
	onFirst.Close()
	return true
}

// The flow of a server that is removed before an upgrade continues. The server takes it back if it returns before its drain
// deadline; otherwise the flow then moves to another server.
func TestUpgradeBeforeReturnKeepsFlows(t *testing.T) {
	t.Parallel()
	weirtest.WithTime(t, 5*time.Second, flowsReturn)
}

func flowsReturn(t *testing.T, drain time.Duration) (inTime bool) {
	one, two := nettest.StartDatagrams(t, nettest.ReplyWithName("one")), nettest.StartDatagrams(t, nettest.ReplyWithName("two"))
	l := weirtest.Config{
		Runtime: fmt.Sprintf("drain_timeout = %q", drain), Listener: fmt.Sprintf("flow_timeout = %q", drain),
		Levels: weirtest.OneLevel(one.Addr()+" name=one", two.Addr()+" name=two"),
	}.UDP(t)
	without := l
	without.Levels = weirtest.OneLevel(two.Addr() + " name=two")
	api := weirtest.NewAPI(t)
	w := weirtest.Options{Program: weirtest.CopyProgram(t)}.Start(t, api.AddTo(l.String()))
	w.Baseline = nil // flows outlast their clients
	c := nettest.DialDatagrams(t, "", l.Listen)
	first := c.RoundTrip("x")
	require.Equal(t, "one", first[:3])
	for range 2 { // the second time the flow has arrived without its server
		removed := time.Now()
		w.Reload(api.AddTo(without.String()))
		without := c.RoundTrip("x")
		w.Upgrade()
		upgraded := time.Now()
		after := c.RoundTrip("x")
		w.Reload(api.AddTo(l.String()))
		if time.Since(removed) >= drain {
			return false
		}
		require.Equal(t, []string{first, first}, []string{without, after})
		require.EqualValues(t, 1, api.Server("one")["sessions"])
		last := time.Now()
		for ; time.Since(upgraded) < drain+time.Second; time.Sleep(20 * time.Millisecond) {
			require.Equal(t, first, c.RoundTrip("x"))
			last = time.Now()
		}
		count := api.Server("one")["sessions"]
		if time.Since(last) >= drain { // the flow may have been idle for too long
			return false
		}
		require.EqualValues(t, 1, count)
	}
	require.Empty(t, w.Records(func(r weirtest.Record) bool { return strings.HasPrefix(r.Text("reason"), "cut_") }))

	removed := time.Now()
	w.Reload(api.AddTo(without.String()))
	w.Upgrade()
	after := c.RoundTrip("x")
	if time.Since(removed) >= drain {
		return false
	}
	require.Equal(t, first, after)
	nettest.Wait(t, 3*drain, "the flow to leave the server at its deadline", func() bool { return c.RoundTrip("x")[:3] == "two" })
	l.Runtime = fmt.Sprintf("drain_timeout = %q", 4*drain) // the flow ends before
	w.Reload(api.AddTo(l.String()))
	w.Signal(syscall.SIGTERM)
	require.Zero(t, w.WaitExit(6*drain))
	return true
}

// The flow of a server that is removed before an upgrade keeps the PROXY header that the server expects, until it leaves the
// server at the deadline that it had before.
func TestUpgradeKeepsHeaderOfRemovedServer(t *testing.T) {
	t.Parallel()
	weirtest.WithTime(t, 5*time.Second, flowKeepsHeader)
}

func flowKeepsHeader(t *testing.T, drain time.Duration) (inTime bool) {
	const signature = "\r\n\r\n\x00\r\nQUIT\n"
	var without atomic.Value // the last datagram without a header
	reply := func(name string) nettest.DatagramHandler {
		return func(from netip.AddrPort, data []byte, reply func([]byte)) {
			if !strings.HasPrefix(string(data), signature) {
				without.Store(fmt.Sprintf("%s got %q from %s at %s", name, data, from, time.Now()))
			}
			reply(fmt.Appendf(nil, "%s %d", name, from.Port()))
		}
	}
	one, two := nettest.StartDatagrams(t, reply("one")), nettest.StartDatagrams(t, reply("two"))
	l := weirtest.Config{
		Runtime: fmt.Sprintf("drain_timeout = %q", drain), Listener: fmt.Sprintf("flow_timeout = %q", drain),
		Levels: weirtest.OneLevel(one.Addr()+" name=one send_proxy=v2 proxy_tlvs=none", two.Addr()+" name=two send_proxy=v2"),
	}.UDP(t)
	w := weirtest.Options{Program: weirtest.CopyProgram(t)}.Start(t, l.String())
	w.Baseline = nil
	c := nettest.DialDatagrams(t, "", l.Listen)
	first := c.RoundTrip("x")
	require.Equal(t, "one", first[:3])
	l.Levels = weirtest.OneLevel(two.Addr() + " name=two send_proxy=v2")
	removed := time.Now()
	w.Reload(l.String())
	for range 2 {
		w.Upgrade()
		answer := c.RoundTrip("x")
		if time.Since(removed) >= drain {
			return false
		}
		require.Equal(t, first, answer)
	}
	nettest.Wait(t, 3*drain, "the flow to leave the server at its deadline", func() bool { return c.RoundTrip("x")[:3] == "two" })
	require.GreaterOrEqual(t, time.Since(removed), drain-5*time.Millisecond)
	require.Nil(t, without.Load())
	l.Runtime = fmt.Sprintf("drain_timeout = %q", 4*drain) // the flow ends before
	w.Reload(l.String())
	w.Signal(syscall.SIGTERM)
	require.Zero(t, w.WaitExit(6*drain))
	return true
}

// A unix listener that is removed before an upgrade keeps its sessions, and takes them back when it returns, with a new file.
func TestUpgradeBeforeReturnOfUnixListener(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	path := filepath.Join(t.TempDir(), "l.sock")
	l := weirtest.Config{Listen: nettest.Reserve(t), Runtime: `drain_timeout = "1m"`, Levels: weirtest.OneLevel(host.Addr() + " name=a")}
	api := weirtest.NewAPI(t)
	config := func(mode string) string {
		c := l
		if mode != "" {
			c.More = fmt.Sprintf("[[listener]]\nname = \"local\"\naddress = \"unix:%s\"\ncluster = \"c\"\nunix_mode = %q\nmax_sessions = 2\n", path, mode)
		}
		return api.AddTo(c.String())
	}
	mode := func() os.FileMode {
		info, err := os.Lstat(path)
		require.NoError(t, err)
		return info.Mode().Perm()
	}
	dial := func() net.Conn {
		c, err := net.Dial("unix", path)
		require.NoError(t, err)
		t.Cleanup(func() { c.Close() })
		return c
	}
	echoes := func(c net.Conn) bool {
		c.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := c.Write([]byte("x")); err != nil {
			return false
		}
		_, err := io.ReadFull(c, make([]byte, 1))
		return err == nil
	}
	w := weirtest.Options{Program: weirtest.CopyProgram(t)}.Start(t, config("0600"))
	first := dial()
	require.True(t, echoes(first))
	w.Reload(config(""))
	require.NoFileExists(t, path)
	w.Upgrade()
	require.True(t, echoes(first))
	w.Reload(config("0640"))
	require.Equal(t, os.FileMode(0o640), mode())
	require.EqualValues(t, 1, api.Get("listeners", 1, "sessions"))
	second := dial()
	require.True(t, echoes(second))
	require.False(t, echoes(dial()), "the listener has two sessions")

	w.WriteConfig(config("0620"))
	w.Upgrade()
	require.Equal(t, os.FileMode(0o620), mode())
	require.True(t, echoes(first))
	require.True(t, echoes(second))
	require.False(t, echoes(dial()), "the listener has two sessions")
	require.NoError(t, first.Close())
	nettest.Wait(t, 10*time.Second, "a free place", func() bool { return echoes(dial()) })
}
