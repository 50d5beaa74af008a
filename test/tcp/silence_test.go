package tcp_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// tcp_user_timeout ends a session with bytes on their way to a host that has vanished, and the reason names the side.
func TestHostVanishesWithBytesInFlight(t *testing.T) {
	t.Parallel()
	for _, side := range []string{"client", "server"} {
		clients, weir, servers := nettest.NewNamespace(t), nettest.NewNamespace(t), nettest.NewNamespace(t)
		weir.Connect(clients, "10.1.0.1", "10.1.0.2")
		weir.Connect(servers, "10.2.0.1", "10.2.0.2")
		servers.Start("10.2.0.2:7001", nettest.Trickle(1000, 20*time.Millisecond))
		w := weirtest.Options{Namespace: weir}.Start(t, weirtest.Config{
			Listen: "10.1.0.1:7000", Listener: `tcp_user_timeout = "1s"`, Levels: weirtest.OneLevel("10.2.0.2:7001"),
		}.String())
		c := clients.Dial("10.1.0.1:7000")
		weirtest.ReadByte(t, c)
		if side == "server" {
			servers.Exec("ip", "link", "set", "eth0", "down")
			require.NoError(t, weirtest.WriteText(c, "hello"))
		} else {
			clients.Exec("ip", "link", "set", "eth0", "down")
		}
		require.Equal(t, "relay "+side+"_timeout", w.SessionRecord(c).Termination())
	}
}

// With tcp_user_timeout, a host that answers but does not read ends its session too, with another reason.
func TestStalledHost(t *testing.T) {
	t.Parallel()
	sending, reading := nettest.Start(t, nettest.Send(1, 64<<20)), nettest.Start(t, nettest.NeverRead)
	w, addr := weirtest.Serve(t, weirtest.Config{Listener: `tcp_user_timeout = "1s"`, Levels: weirtest.OneLevel(sending.Addr())})
	c := nettest.Dial(t, addr)
	require.Equal(t, "relay client_stalled", w.SessionRecord(c).Termination())

	w, addr = weirtest.Serve(t, weirtest.Config{Listener: `tcp_user_timeout = "1s"`, Levels: weirtest.OneLevel(reading.Addr())})
	c = nettest.Dial(t, addr)
	go c.Write(make([]byte, 64<<20))
	require.Equal(t, "relay server_stalled", w.SessionRecord(c).Termination())
}
