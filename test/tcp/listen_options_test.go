// Options of listen sockets: clients that are accepted with their first bytes, and bytes that arrive with the SYN.

package tcp_test

import (
	"net"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// With defer_accept, a client that only connects is no session; a reload switches it off.
func TestDeferAccept(t *testing.T) {
	t.Parallel()
	config := weirtest.Config{Listen: nettest.Reserve(t), Listener: "defer_accept = true", Levels: weirtest.OneLevel(nettest.Start(t, nettest.Echo).Addr())}
	a := weirtest.NewAPI(t)
	w := weirtest.Start(t, a.AddTo(config.String()))
	sessions := func() string { return a.Metric(`weir_sessions_total{listener="l"}`) }
	began := time.Now()
	silent := nettest.Dial(t, config.Listen)
	require.NoError(t, weirtest.PingPong(nettest.Dial(t, config.Listen)))
	if time.Since(began) < time.Second { // on a very slow machine the silent client may have been accepted
		require.Equal(t, "1", sessions())
	}
	require.NoError(t, weirtest.PingPong(silent))
	require.Equal(t, "2", sessions())

	config.Listener = ""
	w.Reload(a.AddTo(config.String()))
	nettest.Dial(t, config.Listen)
	nettest.Wait(t, 5*time.Second, "the session of a silent client", func() bool { return sessions() == "3" })
}

// fastOpened returns how many connections with data in the SYN the namespace has accepted.
func fastOpened(t *testing.T, ns *nettest.Namespace) string {
	t.Helper()
	var text []byte
	var err error
	ns.Do(func() { text, err = os.ReadFile("/proc/thread-self/net/netstat") })
	require.NoError(t, err)
	tables := regexp.MustCompile(`(?m)^TcpExt: (.*)$`).FindAllStringSubmatch(string(text), 2)
	values := strings.Fields(tables[1][1])
	for i, name := range strings.Fields(tables[0][1]) {
		if name == "TCPFastOpenPassive" {
			return values[i]
		}
	}
	t.Fatal("the kernel does not count TCPFastOpenPassive")
	return ""
}

// With fast_open, the first bytes of a client that knows the cookie arrive with its SYN.
func TestFastOpen(t *testing.T) {
	t.Parallel()
	ns := nettest.NewNamespace(t)
	ns.Sysctl("ipv4/tcp_fastopen", "3")
	host := ns.Start("127.0.0.1:7001", nettest.Echo)
	config := weirtest.Config{Listen: "127.0.0.1:7000", Listener: "fast_open = 64", Levels: weirtest.OneLevel(host.Addr())}
	w := weirtest.Options{Namespace: ns}.Start(t, config.String())
	exchange := func() {
		t.Helper()
		d := net.Dialer{Timeout: 5 * time.Second, Control: func(_, _ string, c syscall.RawConn) (err error) {
			if e := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_FASTOPEN_CONNECT, 1) }); e != nil {
				return e
			}
			return err
		}}
		var c net.Conn
		var err error
		ns.Do(func() { c, err = d.Dial("tcp", config.Listen) })
		require.NoError(t, err)
		defer c.Close()
		require.NoError(t, weirtest.PingPong(c.(*net.TCPConn)))
	}
	exchange() // gets the cookie
	require.Equal(t, "0", fastOpened(t, ns))
	exchange()
	require.Equal(t, "1", fastOpened(t, ns))
	config.Listener = ""
	w.Reload(config.String())
	exchange()
	require.Equal(t, "1", fastOpened(t, ns))
}
