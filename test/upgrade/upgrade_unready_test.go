package upgrade_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// drain_timeout does not cut sessions that cannot move yet, but will: they wait for their client's PROXY header or ClientHello, or
// for the first packet of their server, which have timeouts of their own.
func TestUpgradeCutsNoSessionThatWillMove(t *testing.T) {
	t.Parallel()
	release, reached := make(chan struct{}), make(chan struct{})
	echo := nettest.Start(t, nettest.Echo)
	mysql := nettest.Start(t, func(ctx context.Context, c *net.TCPConn) {
		close(reached)
		<-release
		io.WriteString(c, mysqlHandshake)
		nettest.Echo(ctx, c)
	})
	addrs := map[string]string{"client_hello": nettest.Reserve(t), "proxy_header": nettest.Reserve(t), "dial": nettest.Reserve(t)}
	config := weirtest.Config{
		Runtime: "drain_timeout = \"0s\"", Listen: addrs["client_hello"], Levels: weirtest.OneLevel(echo.Addr()),
		Listener: "preread_timeout = \"1m\"\n[[listener.route]]\nsni = [\"none.example\"]\ncluster = \"c\"",
		More: fmt.Sprintf("[[listener]]\nname = \"p\"\naddress = %q\ncluster = \"c\"\naccept_proxy = true\ntrusted_proxies = [\"127.0.0.0/8\"]\nproxy_timeout = \"1m\"\n", addrs["proxy_header"]) +
			fmt.Sprintf("[[listener]]\nname = \"m\"\naddress = %q\ncluster = \"m\"\n[cluster.m]\ngreeting = \"mysql\"\ngreeting_timeout = \"1m\"\n[[cluster.m.level]]\nservers = [%q]\n", addrs["dial"], mysql.Addr()),
	}
	api := weirtest.NewAPI(t)
	w := weirtest.Start(t, api.AddTo(config.String()))
	hello := string(firstFlight(t, "db.example.com"))
	header := "PROXY TCP4 192.0.2.7 192.0.2.8 1234 80\r\n"
	sessions := map[string]net.Conn{}
	for phase, first := range map[string]string{"client_hello": hello[:40], "proxy_header": header[:10], "dial": ""} {
		sessions[phase] = nettest.Dial(t, addrs[phase])
		require.NoError(t, weirtest.WriteText(sessions[phase], first))
		api.WaitPhase(sessions[phase], phase)
	}
	<-reached
	r := w.SignalUpgrade("upgrade")
	for phase, c := range sessions {
		c.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		_, err := c.Read(make([]byte, 1))
		require.Equal(t, nettest.Timeout, nettest.StreamEndOf(err), phase)
	}
	close(release)
	for phase, rest := range map[string][2]string{"client_hello": {hello[40:], hello}, "proxy_header": {header[10:], ""}, "dial": {"", mysqlHandshake}} {
		c := sessions[phase]
		require.NoError(t, weirtest.WriteText(c, rest[0]), phase)
		c.SetReadDeadline(time.Now().Add(weirtest.Bound(10 * time.Second)))
		got := make([]byte, len(rest[1]))
		_, err := io.ReadFull(c, got)
		require.NoError(t, err, phase)
		require.Equal(t, rest[1], string(got), phase)
		require.NoError(t, weirtest.PingPong(c), phase)
	}
	w.WaitSuccessor(r.Int("pid"))
	for phase, c := range sessions {
		require.NoError(t, weirtest.PingPong(c), phase)
	}
}
