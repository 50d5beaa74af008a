package tcp_test

import (
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// Servers are dialed from their own source address or that of their cluster.
func TestSourceAddress(t *testing.T) {
	t.Parallel()
	rec := &nettest.Recorder{Banner: "x", CloseSide: true}
	host := nettest.Start(t, rec.Handle)
	for i, l := range []weirtest.Config{
		{Cluster: `source = "127.0.0.2"`, Levels: weirtest.OneLevel(host.Addr())},
		{Levels: weirtest.OneLevel(host.Addr() + " source=127.0.0.3")},
		{Cluster: `source = "127.0.0.2"`, Levels: weirtest.OneLevel(host.Addr() + " source=127.0.0.4")},
	} {
		_, addr := weirtest.Serve(t, l)
		text, _ := weirtest.ReadSession(addr)
		require.Equal(t, "x", text)
		require.Equal(t, []string{"127.0.0.2", "127.0.0.3", "127.0.0.4"}[i], rec.Conns()[i].From.Addr().String())
	}
}

// Checks use the same source address as sessions.
func TestSourceAddressOfChecks(t *testing.T) {
	t.Parallel()
	rec := &nettest.Recorder{Banner: "hello"}
	host := nettest.Start(t, rec.Handle)
	weirtest.Serve(t, weirtest.Config{
		Cluster: `source = "127.0.0.2"`, Levels: weirtest.OneLevel(host.Addr()),
		Checks: "[[cluster.c.check]]\ntype = \"tcp\"\ninterval = \"100ms\"\ntimeout = \"100ms\"\nexpect = \"hello\"\n",
	})
	nettest.Wait(t, 5*time.Second, "a check", func() bool { return len(rec.Conns()) > 1 })
	for _, v := range rec.Conns() {
		require.Equal(t, "127.0.0.2", v.From.Addr().String())
	}
}

// The source port is chosen when the destination is known: 32 ports carry 32 sessions to each server.
func TestSourcePortsAreSharedAmongServers(t *testing.T) {
	t.Parallel()
	ns, clients := nettest.NewNamespace(t), nettest.NewNamespace(t)
	ns.Connect(clients, "10.99.0.1", "10.99.0.2")
	ns.Sysctl("ipv4/ip_local_port_range", "40000 40031")
	ns.Start("127.0.0.1:7001", nettest.Greet("1", nettest.Echo))
	ns.Start("127.0.0.1:7002", nettest.Greet("2", nettest.Echo))
	weirtest.Options{Namespace: ns}.Start(t, weirtest.Config{
		Listen: "10.99.0.1:7000", Cluster: `source = "127.0.0.5"`, Levels: weirtest.OneLevel("127.0.0.1:7001", "127.0.0.1:7002"),
	}.String())
	count := map[string]int{}
	for range 64 {
		c := clients.Dial("10.99.0.1:7000")
		c.SetReadDeadline(time.Now().Add(5 * time.Second))
		count[weirtest.ReadByte(t, c)]++
	}
	require.Equal(t, map[string]int{"1": 32, "2": 32}, count)
}

// An IPv4 client of an IPv6 listener is shown with its IPv4 address.
func TestDualStackListener(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.SendText("ok"))
	reserved := nettest.Reserve(t)
	_, port, err := net.SplitHostPort(reserved)
	require.NoError(t, err)
	w, _ := weirtest.Serve(t, weirtest.Config{Listen: "[::]:" + port, Levels: weirtest.OneLevel(host.Addr())})

	four := nettest.Dial(t, "127.0.0.1:"+port)
	data, _ := nettest.ReadToEnd(four, 5*time.Second)
	require.Equal(t, "ok", string(data))
	four.Close()
	require.Equal(t, four.LocalAddr().String(), w.SessionRecord(four).Text("client"))

	six := nettest.Dial(t, "[::1]:"+port)
	data, _ = nettest.ReadToEnd(six, 5*time.Second)
	require.Equal(t, "ok", string(data))
	six.Close()
	require.Equal(t, "l", w.SessionRecord(six).Text("listener"))
	require.NotContains(t, w.Output(), "::ffff:")
}

// A listener serves every address of its list and every port of its ranges.
func TestSeveralAddresses(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.SendText("ok"))
	span := nettest.ReserveRange(t, 4)
	single := nettest.ReserveOn(t, "127.0.0.2")
	config := weirtest.Config{Listen: "LIST", Levels: weirtest.OneLevel(host.Addr())}.String()
	config = strings.Replace(config, `"LIST"`, fmt.Sprintf(`["127.0.0.1:%d-%d", %q]`, span.Port(), span.Port()+3, single), 1)
	weirtest.Start(t, config)
	for i := range uint16(4) {
		text, _ := weirtest.ReadSession(fmt.Sprintf("127.0.0.1:%d", span.Port()+i))
		require.Equal(t, "ok", text)
	}
	text, _ := weirtest.ReadSession(single)
	require.Equal(t, "ok", text)
}

// A unix socket left by a killed process is replaced; one that is being served is kept.
func TestUnixSocketOwnership(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.SendText("ok"))
	path := weirtest.ShortTempDir(t) + "/weir.sock"
	config := weirtest.Config{Listen: "unix:" + path, Levels: weirtest.OneLevel(host.Addr())}.String()
	answers := func() bool {
		c, err := net.Dial("unix", path)
		if err != nil {
			return false
		}
		defer c.Close()
		data, _ := nettest.ReadToEnd(c, 5*time.Second)
		return string(data) == "ok"
	}
	killed := weirtest.Start(t, config)
	require.True(t, answers())
	killed.Signal(syscall.SIGKILL)
	<-killed.Done
	_, err := os.Stat(path)
	require.NoError(t, err, "a kill leaves the file")

	w := weirtest.Start(t, config)
	require.True(t, answers())

	thief := weirtest.Options{}.StartUnready(t, config)
	require.Equal(t, 2, thief.WaitExit(15*time.Second))
	require.Contains(t, thief.Output(), path)
	require.True(t, answers(), "the owner still serves")

	w.Signal(syscall.SIGTERM)
	require.Equal(t, 0, w.WaitExit(15*time.Second))
	_, err = os.Stat(path)
	require.ErrorIs(t, err, os.ErrNotExist, "a normal end removes the file")
}

// An address in use makes the whole start fail; the error names the address and the cause.
func TestAddressInUse(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.SendText("ok"))
	taken := nettest.Start(t, nettest.SendText("other"))
	free := nettest.Reserve(t)
	w := weirtest.Options{}.StartUnready(t, weirtest.Config{
		Listen: free, Levels: weirtest.OneLevel(host.Addr()), More: weirtest.ListenerTables("second", taken.Addr(), host.Addr()),
	}.String())
	require.Equal(t, 2, w.WaitExit(15*time.Second))
	require.Contains(t, w.Output(), taken.Addr())
	require.Regexp(t, `weir.toml:\d+:11: listener\[1\].address: listener second: .*address already in use`, w.Output())
	_, err := nettest.TryDial(free)
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
}

// A source address of one family for a server of the other is a configuration error.
func TestSourceOfOtherFamily(t *testing.T) {
	t.Parallel()
	file := t.TempDir() + "/weir.toml"
	require.NoError(t, os.WriteFile(file, []byte(weirtest.Config{
		Listen: "127.0.0.1:7000", Levels: weirtest.OneLevel("[::1]:7001 source=127.0.0.2"),
	}.String()), 0o644))
	code, out := weirtest.RunCommand(t, "check", "-c", file)
	require.Equal(t, 1, code)
	require.Contains(t, out, "127.0.0.2")
	require.Contains(t, out, "::1")
}
