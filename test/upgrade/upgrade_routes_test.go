package upgrade_test

import (
	"crypto/tls"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// firstFlight returns the bytes that a TLS client sends first.
func firstFlight(t *testing.T, name string) []byte {
	t.Helper()
	client, server := net.Pipe()
	defer server.Close()
	go tls.Client(client, &tls.Config{ServerName: name, InsecureSkipVerify: true}).Handshake()
	buf := make([]byte, 16<<10)
	n, err := server.Read(buf)
	require.NoError(t, err)
	return buf[:n]
}

// An upgrade keeps routed sessions with their route and name; those in the middle of a ClientHello finish it in the old
// process and then move; held ones are routed in the new process; counts go on.
func TestRoutedSessionsSurviveUpgrade(t *testing.T) {
	t.Parallel()
	a, c := nettest.Start(t, nettest.Greet("a", nettest.Echo)), nettest.Start(t, nettest.Greet("c", nettest.Echo))
	routes := "[[listener.route]]\nname = \"names\"\nsni = [\"*.example.com\"]\ncluster = \"a\"\n" +
		"[[listener.route]]\nsni = [\"held.example\"]\ncluster = \"held\"\n"
	config := weirtest.Config{
		Listen: nettest.Reserve(t), Listener: "preread_timeout = \"1m\"\n" + routes, Levels: weirtest.OneLevel(c.Addr()),
		More: "[cluster.a]\n[[cluster.a.level]]\nservers = [\"" + a.Addr() + "\"]\n[cluster.held]\nhold_timeout = \"1m\"\n[[cluster.held.level]]\nservers = []\n",
	}
	api := weirtest.NewAPI(t)
	w := weirtest.Start(t, api.AddTo(config.String()))
	hello, held := firstFlight(t, "db.example.com"), firstFlight(t, "held.example")
	open := func(bytes []byte) net.Conn {
		conn := nettest.Dial(t, config.Listen)
		_, err := conn.Write(bytes)
		require.NoError(t, err)
		return conn
	}
	expect := func(conn net.Conn, cluster string, sent []byte) {
		conn.SetReadDeadline(time.Now().Add(weirtest.Bound(10 * time.Second)))
		require.Equal(t, cluster, weirtest.ReadByte(t, conn))
		got := make([]byte, len(sent))
		_, err := io.ReadFull(conn, got)
		require.NoError(t, err)
		require.Equal(t, sent, got)
	}
	relayed, halfway, waits := open(hello), open(hello[:40]), open(held[:50])
	expect(relayed, "a", hello)
	api.WaitPhase(halfway, "client_hello")
	api.WaitPhase(waits, "client_hello")
	_, err := waits.Write(held[50:]) // in pieces: weir has read it, and hands it over
	require.NoError(t, err)
	api.WaitPhase(waits, "hold")

	r := w.SignalUpgrade("upgrade")
	_, err = halfway.Write(hello[40:])
	require.NoError(t, err)
	expect(halfway, "a", hello)
	w.WaitSuccessor(r.Int("pid"))

	for _, conn := range []net.Conn{relayed, halfway} {
		require.NoError(t, weirtest.PingPong(conn))
		api.WaitSession(conn, "with its route", func(r weirtest.Record) bool {
			return r.Text("route") == "names" && r.Text("sni") == "db.example.com" && r.Text("cluster") == "a"
		})
	}
	api.WaitPhase(waits, "hold")
	api.MustDo("POST /v1/clusters/held/servers", `"`+c.Addr()+`"`)
	expect(waits, "c", held)
	require.Equal(t, "held.example", func() string { waits.Close(); return w.SessionRecord(waits).Text("sni") }())
	require.Equal(t, "2", api.Metric(`weir_route_sessions_total{listener="l",route="names"}`))
}
