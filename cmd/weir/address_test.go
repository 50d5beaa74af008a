package main_test

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
)

// A server is dialled from the source address that it, or its cluster, is given.
func TestSourceAddress(t *testing.T) {
	t.Parallel()
	rec := &nettest.Recorder{Banner: "x", CloseSide: true}
	host := nettest.Start(t, rec.Handle)
	for i, l := range []layout{
		{cluster: `source = "127.0.0.2"`, levels: servers(host.Addr())},
		{levels: servers(host.Addr() + " source=127.0.0.3")},
		{cluster: `source = "127.0.0.2"`, levels: servers(host.Addr() + " source=127.0.0.4")},
	} {
		_, addr := serve(t, l)
		text, _ := ask(addr)
		require.Equal(t, "x", text)
		require.Equal(t, []string{"127.0.0.2", "127.0.0.3", "127.0.0.4"}[i], rec.Conns()[i].From.Addr().String())
	}
}

// Checks come from the same address as sessions do.
func TestSourceAddressOfChecks(t *testing.T) {
	t.Parallel()
	rec := &nettest.Recorder{Banner: "hello"}
	host := nettest.Start(t, rec.Handle)
	serve(t, layout{
		cluster: `source = "127.0.0.2"`, levels: servers(host.Addr()),
		checks: "[[cluster.c.check]]\ntype = \"tcp\"\ninterval = \"100ms\"\ntimeout = \"100ms\"\nexpect = \"hello\"\n",
	})
	nettest.Wait(t, 5*time.Second, "a check", func() bool { return len(rec.Conns()) > 1 })
	for _, v := range rec.Conns() {
		require.Equal(t, "127.0.0.2", v.From.Addr().String())
	}
}

// The source port is chosen when it is known where the connection goes: 32 ports carry 32 sessions to each server.
func TestSourcePortsAreSharedAmongServers(t *testing.T) {
	t.Parallel()
	ns, clients := nettest.NewNamespace(t), nettest.NewNamespace(t)
	ns.Connect(clients, "10.99.0.1", "10.99.0.2")
	ns.Sysctl("ipv4/ip_local_port_range", "40000 40031")
	ns.Start("127.0.0.1:7001", nettest.Greet("1", nettest.Echo))
	ns.Start("127.0.0.1:7002", nettest.Greet("2", nettest.Echo))
	launch{ns: ns}.start(t, layout{
		listen: "10.99.0.1:7000", cluster: `source = "127.0.0.5"`, levels: servers("127.0.0.1:7001", "127.0.0.1:7002"),
	}.String())
	count := map[string]int{}
	for range 64 {
		c := clients.Dial("10.99.0.1:7000")
		c.SetReadDeadline(time.Now().Add(5 * time.Second))
		count[first(t, c)]++
	}
	require.Equal(t, map[string]int{"1": 32, "2": 32}, count)
}

// An IPv4 client of an IPv6 listener is shown as what it is.
func TestDualStackListener(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.SendText("ok"))
	reserved := nettest.Reserve(t)
	_, port, err := net.SplitHostPort(reserved)
	require.NoError(t, err)
	w, _ := serve(t, layout{listen: "[::]:" + port, levels: servers(host.Addr())})

	four := nettest.Dial(t, "127.0.0.1:"+port)
	data, _ := nettest.ReadToEnd(four, 5*time.Second)
	require.Equal(t, "ok", string(data))
	four.Close()
	require.Equal(t, four.LocalAddr().String(), w.session(four).str("client"))

	six := nettest.Dial(t, "[::1]:"+port)
	data, _ = nettest.ReadToEnd(six, 5*time.Second)
	require.Equal(t, "ok", string(data))
	six.Close()
	require.Equal(t, "l", w.session(six).str("listener"))
	require.NotContains(t, w.output(), "::ffff:")
}

// A listener serves every address of its list and every port of its ranges.
func TestSeveralAddresses(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.SendText("ok"))
	span := nettest.ReserveRange(t, 4)
	single := nettest.ReserveOn(t, "127.0.0.2")
	config := layout{listen: "LIST", levels: servers(host.Addr())}.String()
	config = strings.Replace(config, `"LIST"`, fmt.Sprintf(`["127.0.0.1:%d-%d", %q]`, span.Port(), span.Port()+3, single), 1)
	start(t, config)
	for i := range uint16(4) {
		text, _ := ask(fmt.Sprintf("127.0.0.1:%d", span.Port()+i))
		require.Equal(t, "ok", text)
	}
	text, _ := ask(single)
	require.Equal(t, "ok", text)
}

// A unix socket left behind by a killed process is replaced; one that somebody serves is not taken away.
func TestUnixSocketOwnership(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.SendText("ok"))
	path := shortDir(t) + "/weir.sock"
	config := layout{listen: "unix:" + path, levels: servers(host.Addr())}.String()
	answers := func() bool {
		c, err := net.Dial("unix", path)
		if err != nil {
			return false
		}
		defer c.Close()
		data, _ := nettest.ReadToEnd(c, 5*time.Second)
		return string(data) == "ok"
	}
	killed := start(t, config)
	require.True(t, answers())
	killed.signal(syscall.SIGKILL)
	<-killed.done
	_, err := os.Stat(path)
	require.NoError(t, err, "a kill leaves the file")

	w := start(t, config)
	require.True(t, answers())

	thief := launch{}.launch(t, config)
	require.Equal(t, 2, thief.exit(5*time.Second))
	require.Contains(t, thief.output(), path)
	require.True(t, answers(), "the owner still serves")

	w.signal(syscall.SIGTERM)
	require.Equal(t, 0, w.exit(5*time.Second))
	_, err = os.Stat(path)
	require.ErrorIs(t, err, os.ErrNotExist, "a normal end removes the file")
}

// An address that is taken stops the start as a whole, with the address and the reason named.
func TestAddressInUse(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.SendText("ok"))
	taken := nettest.Start(t, nettest.SendText("somebody else"))
	free := nettest.Reserve(t)
	w := launch{}.launch(t, layout{
		listen: free, levels: servers(host.Addr()), more: pair("second", taken.Addr(), host.Addr()),
	}.String())
	require.Equal(t, 2, w.exit(5*time.Second))
	require.Contains(t, w.output(), taken.Addr())
	require.Regexp(t, `weir.toml:\d+:11: listener\[1\].address: listener second: .*address already in use`, w.output())
	_, err := nettest.TryDial(free)
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
}

// A source address of one family for a server of the other is a mistake in the file.
func TestSourceOfOtherFamily(t *testing.T) {
	t.Parallel()
	file := t.TempDir() + "/weir.toml"
	require.NoError(t, os.WriteFile(file, []byte(layout{
		listen: "127.0.0.1:7000", levels: servers("[::1]:7001 source=127.0.0.2"),
	}.String()), 0o644))
	code, out := run(t, "check", "-c", file)
	require.Equal(t, 1, code)
	require.Contains(t, out, "127.0.0.2")
	require.Contains(t, out, "::1")
}
