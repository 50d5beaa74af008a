// Names with several addresses, from a real DNS server.

package discovery_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// checkedServer is a server that accepts connections and sends its letter. While it is unhealthy, it sends "?" and closes.
type checkedServer struct {
	*nettest.Host
	unhealthy atomic.Bool
}

func startChecked(t *testing.T, addr, letter string) *checkedServer {
	s := &checkedServer{}
	s.Host = nettest.StartAt(t, addr, func(ctx context.Context, c *net.TCPConn) {
		if s.unhealthy.Load() {
			nettest.SendText("?")(ctx, c)
			return
		}
		nettest.Greet(letter, nettest.Echo)(ctx, c)
	})
	return s
}

// healthCheck is a check that fails while a server is unhealthy.
const healthCheck = "[[cluster.c.check]]\ntype = \"tcp\"\nexpect_regex = \"[A-Z]\"\ninterval = \"2s\"\ntimeout = \"2s\"\nfall = 1\nrise = 1\n"

// twoAddresses starts a server at each of two addresses of db.test, and a DNS server with them.
func twoAddresses(t *testing.T) (d *dnsmasq, names string, port string, a, b *checkedServer) {
	network := fmt.Sprintf("127.%d.%d.", 1+rand.IntN(254), rand.IntN(256))
	first := nettest.ReserveOn(t, network+"1")
	_, port, err := net.SplitHostPort(first)
	require.NoError(t, err)
	a, b = startChecked(t, first, "A"), startChecked(t, network+"2:"+port, "B")
	d = &dnsmasq{t: t, addr: network + "53:53"}
	t.Cleanup(d.stop)
	names = fmt.Sprintf("--host-record=db.test,%s1 --host-record=db.test,%[1]s2", network)
	d.start(strings.Fields(names)...)
	return d, names, port, a, b
}

// A server whose name has two addresses is up while one of them passes its check, and sessions use one that passes. An address
// that accepts connections is no exception.
func TestChecksAndSessionsAgreeOnAddress(t *testing.T) {
	t.Parallel()
	d, _, port, first, second := twoAddresses(t)
	config := weirtest.Config{Listen: nettest.Reserve(t), Levels: weirtest.OneLevel("db.test:" + port), Checks: healthCheck, Cluster: "protected = false"}
	api := weirtest.NewAPI(t)
	host, _, _ := net.SplitHostPort(d.addr)
	w := weirtest.Options{Wrapper: weirtest.WithResolver(t, host, "")}.Start(t, api.AddTo(config.String()))
	require.Equal(t, []string{"db.test:" + port}, servers(api, 0), "one server")
	require.Equal(t, "AAAA", firstBytes(t, config.Listen, 4))
	await := func(letter string) {
		t.Helper()
		nettest.Wait(t, weirtest.Bound(20*time.Second), "sessions to reach "+letter, func() bool { return firstBytes(t, config.Listen, 1) == letter })
		require.Equal(t, strings.Repeat(letter, 4), firstBytes(t, config.Listen, 4))
		require.Equal(t, "up", api.Server("db.test:" + port)["state"])
	}
	first.unhealthy.Store(true)
	await("B")
	first.Down() // now it also refuses
	await("B")
	first.unhealthy.Store(false)
	first.Up()
	await("A")
	second.unhealthy.Store(true)
	await("A")
	require.Empty(t, w.Events("server_down"))

	first.unhealthy.Store(true)
	w.WaitEvent("server_down", "db.test:"+port)
	require.Equal(t, "-", weirtest.ReadSessions(t, config.Listen, 1), "no address passes")
	second.unhealthy.Store(false)
	w.WaitEvent("server_up", "db.test:"+port)
	await("B")
	for _, r := range w.Records(func(r weirtest.Record) bool { return strings.HasPrefix(r.Termination(), "relay") }) {
		require.Equal(t, 1, r.Int("attempts"), "all addresses are one attempt: %v", r)
	}
}

// With address records, each address is a server with a check and a state of its own.
func TestEachAddressIsServer(t *testing.T) {
	t.Parallel()
	d, names, port, first, second := twoAddresses(t)
	config := found(fmt.Sprintf("type = \"dns\"\nname = \"db.test\"\nrecord = \"a\"\nport = %s\nresolvers = [%q]\ninterval = \"200ms\"\n", port, d.addr))
	config.Checks += healthCheck
	w, listen, api := weirtest.ServeAPI(t, config)
	a, b := first.Addr(), second.Addr()
	require.Equal(t, []string{a, b}, servers(api, 0))
	require.Contains(t, []string{"ABAB", "BABA"}, firstBytes(t, listen, 4))
	first.unhealthy.Store(true)
	w.WaitEvent("server_down", a)
	require.Equal(t, "BBBB", firstBytes(t, listen, 4))
	require.Equal(t, []any{"down", "up"}, []any{api.Server(a)["state"], api.Server(b)["state"]})

	session := nettest.Dial(t, listen)
	require.Equal(t, "B", weirtest.ReadByte(t, session))
	d.start(strings.Fields(names)[0])
	waitServers(api, a)
	require.NoError(t, weirtest.PingPong(session), "the session of an address that has left stays")
	first.unhealthy.Store(false)
	w.WaitEvent("server_up", a)
	require.Equal(t, "AAAA", firstBytes(t, listen, 4))
	d.start(strings.Fields(names)...)
	waitServers(api, a, b)
	require.NoError(t, weirtest.PingPong(session))
}
