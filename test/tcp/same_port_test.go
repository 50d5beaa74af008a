package tcp_test

import (
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// samePorts returns hosts with the same ports at 127.0.0.2 and the addresses of a listener with these ports at 127.0.0.1.
func samePorts(t *testing.T, handlers ...nettest.Handler) (listen []string) {
	t.Helper()
	for _, handle := range handlers {
		at := nettest.Reserve(t)
		nettest.StartAt(t, "127.0.0.2:"+portOf(at), handle)
		listen = append(listen, at)
	}
	return listen
}

func portOf(addr string) string { return strconv.Itoa(int(netip.MustParseAddrPort(addr).Port())) }

func samePortConfig(listen []string, servers ...string) weirtest.Config {
	return weirtest.Config{Listen: listen[0], Levels: [][]string{servers}}
}

// several makes the listener listen at all addresses.
func several(config string, listen []string) string {
	return strings.Replace(config, fmt.Sprintf("address = %q", listen[0]), "address = [\""+strings.Join(listen, `", "`)+"\"]", 1)
}

// A server with port = "same" is reached at the port that the client connected to, and at that of its PROXY header.
func TestServerAtClientsPort(t *testing.T) {
	t.Parallel()
	listen := samePorts(t, nettest.SendText("A"), nettest.SendText("B"), nettest.SendText("C"))
	w := weirtest.Start(t, several(samePortConfig(listen, "127.0.0.2 port=same source=127.0.0.3").String(), listen))
	for i, at := range listen {
		require.Equal(t, string("ABC"[i]), weirtest.DialAndReadByte(t, at))
		r := w.WaitRecord(weirtest.Bound(5*time.Second), "the record", func(r weirtest.Record) bool {
			return r.Text("server_address") == "127.0.0.2:"+portOf(at)
		})
		require.Equal(t, "127.0.0.2", r.Text("server"))
	}
}

// With PROXY headers, the port is that of the destination in the header; without one there, that of the listener.
func TestServerAtPortOfProxyHeader(t *testing.T) {
	t.Parallel()
	listen := samePorts(t, nettest.SendText("A"), nettest.SendText("B"))
	_, addr := weirtest.Serve(t, withListen(proxied("", "127.0.0.2 port=same"), listen[0]))
	for header, want := range map[string]string{
		"PROXY TCP4 192.0.2.1 192.0.2.2 1234 " + portOf(listen[1]) + "\r\n": "B",
		"PROXY UNKNOWN\r\n":      "A",
		nettest.ProxyV2(0x20, 0): "A",
	} {
		c := nettest.Dial(t, addr)
		io.WriteString(c, header)
		require.Equal(t, want, weirtest.ReadByte(t, c), header)
	}
}

// A reload, the API and an upgrade change and keep servers with port = "same" as any others.
func TestSamePortServersAtRunTime(t *testing.T) {
	t.Parallel()
	listen := samePorts(t, nettest.Echo, nettest.SendText("B"))
	fixed := nettest.Start(t, nettest.SendText("F"))
	l := samePortConfig(listen, "127.0.0.2 port=same name=s")
	a := weirtest.NewAPI(t)
	config := func(server string) string {
		l.Levels = weirtest.OneLevel(server)
		return a.AddTo(several(l.String(), listen))
	}
	w := weirtest.Options{Program: weirtest.CopyProgram(t)}.Start(t, config("127.0.0.2 port=same name=s"))
	kept := nettest.Dial(t, listen[0])
	require.NoError(t, weirtest.PingPong(kept))
	require.Contains(t, a.MustDo("GET /v1/clusters/c", ""), `"address":"127.0.0.2 port=same"`)

	w.Reload(config(fixed.Addr() + " name=s"))
	require.Equal(t, "F", weirtest.DialAndReadByte(t, listen[1]))
	w.Reload(config("127.0.0.2 port=same name=s"))
	require.Equal(t, "B", weirtest.DialAndReadByte(t, listen[1]))
	w.Upgrade()
	require.NoError(t, weirtest.PingPong(kept))
	require.Equal(t, "B", weirtest.DialAndReadByte(t, listen[1]))

	w.Reload(config(fixed.Addr() + " state=maint"))
	a.MustDo("POST /v1/clusters/c/servers", `"127.0.0.2 port=same name=added"`)
	require.Equal(t, "B", weirtest.DialAndReadByte(t, listen[1]))
	kept.CloseWrite()
	nettest.ReadToEnd(kept, weirtest.Bound(5*time.Second))
	r := w.WaitRecord(weirtest.Bound(5*time.Second), "the record of the kept session", func(r weirtest.Record) bool { return r.Int("bytes_up") > 0 })
	require.Equal(t, "127.0.0.2:"+portOf(listen[0]), r.Text("server_address"))
}

// A check uses its own port; one without a port is an error, also at run time.
func TestSamePortServerIsChecked(t *testing.T) {
	t.Parallel()
	listen := samePorts(t, nettest.SendText("A"))
	probe := nettest.StartAt(t, "127.0.0.2:0", nettest.Echo)
	l := samePortConfig(listen, "127.0.0.2 port=same")
	l.Checks = "[[cluster.c.check]]\ntype = \"tcp\"\ninterval = \"50ms\"\nport = " + portOf(probe.Addr()) + "\n"
	a := weirtest.NewAPI(t)
	w := weirtest.Start(t, a.AddTo(l.String()))
	up := func() bool { return strings.Contains(a.MustDo("GET /v1/clusters/c", ""), `"state":"up"`) }
	nettest.Wait(t, weirtest.Bound(10*time.Second), "the first pass", up)
	probe.Down()
	nettest.Wait(t, weirtest.Bound(10*time.Second), "the failure", func() bool { return !up() })

	l.Checks = "[[cluster.c.check]]\ntype = \"tcp\"\n"
	r := w.FailReload(a.AddTo(l.String()))
	require.Contains(t, r.Text("error"), "check tcp requires port")
	l.Levels = weirtest.OneLevel(probe.Addr())
	w.Reload(a.AddTo(l.String()))
	code, text := a.Do("POST /v1/clusters/c/servers", `"127.0.0.2 port=same name=added"`)
	require.Equal(t, 400, code)
	require.Contains(t, text, "check tcp requires port")
}

// A server with port = "same" at an address of a listener is the listener itself.
func TestSamePortServerIsNotTheListener(t *testing.T) {
	t.Parallel()
	listen := samePorts(t, nettest.SendText("A"))
	a := weirtest.NewAPI(t)
	w := weirtest.Start(t, a.AddTo(samePortConfig(listen, "127.0.0.2 port=same").String()))
	require.Contains(t, w.FailReload(a.AddTo(samePortConfig(listen, "127.0.0.1 port=same").String())).Text("error"), "points back to listener l")
	code, text := a.Do("POST /v1/clusters/c/servers", `"127.0.0.1 port=same"`)
	require.Equal(t, 400, code)
	require.Contains(t, text, "points back to listener l")
}

// A PROXY header can lead a server with port = "same" to the listener that its session came through. The session ends.
func TestSamePortLoopThroughProxyHeader(t *testing.T) {
	t.Parallel()
	behind, front := nettest.ReserveOn(t, "127.0.0.9"), nettest.Reserve(t)
	l := withListen(proxied("", "127.0.0.1 port=same"), behind)
	l.More = weirtest.ListenerTables("front", front, behind+" send_proxy=v2")
	a := weirtest.NewAPI(t)
	w := weirtest.Start(t, a.AddTo(l.String()))
	if c, err := nettest.TryDial(front); err == nil { // else it was reset at once
		_, end := nettest.ReadToEnd(c, weirtest.Bound(10*time.Second))
		require.NotEqual(t, nettest.Timeout, end)
		c.Close()
	}
	w.WaitRecord(weirtest.Bound(10*time.Second), "the rejection", func(r weirtest.Record) bool {
		return r.IsEvent("session_refused") && r.Text("reason") == "loop"
	})
	require.Less(t, rejections(a)["loop"], 3)
}
