// Clients of this host whose source port is that of a connection of weir.

package tcp_test

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// The kernel gives the port of weir's connection to a server also to a client on the same host. The client does not come from a
// session of weir, although the server has the port of the listener.
func TestClientWithPortOfConnectionToServer(t *testing.T) {
	t.Parallel()
	listen := nettest.Reserve(t)
	_, port, err := net.SplitHostPort(listen)
	require.NoError(t, err)
	host := nettest.StartAt(t, "127.0.0.2:"+port, nettest.Echo)
	weirtest.Start(t, weirtest.Config{Listen: listen, Levels: weirtest.OneLevel(host.Addr())}.String())

	first := nettest.Dial(t, listen)
	require.NoError(t, weirtest.WriteText(first, "hello"))
	_, err = first.Read(make([]byte, 5))
	require.NoError(t, err)
	used := sourcesTo(t, netip.MustParseAddrPort(host.Addr()))
	require.Len(t, used, 1)

	const ipLocalPortRange = 51 // IP_LOCAL_PORT_RANGE, since Linux 6.3
	dialer := net.Dialer{Timeout: 10 * time.Second, Control: func(_, _ string, c syscall.RawConn) (err error) {
		only := int(used[0].Port()) | int(used[0].Port())<<16
		if failed := c.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IP, ipLocalPortRange, only) }); failed != nil {
			return failed
		}
		return err
	}}
	c, err := dialer.DialContext(context.Background(), "tcp", listen)
	require.NoError(t, err)
	defer c.Close()
	require.Equal(t, used[0].String(), c.LocalAddr().String())
	require.NoError(t, weirtest.WriteText(c, "again"))
	b := make([]byte, 5)
	_, err = c.Read(b)
	require.NoError(t, err, "it is taken for a session of weir")
	require.Equal(t, "again", string(b))
}

// sourcesTo returns the local addresses of the established connections to an IPv4 address.
func sourcesTo(t *testing.T, remote netip.AddrPort) (list []netip.AddrPort) {
	text, err := os.ReadFile("/proc/net/tcp")
	require.NoError(t, err)
	for _, line := range strings.Split(string(text), "\n")[1:] {
		f := strings.Fields(line)
		if len(f) < 4 || f[3] != "01" || procAddress(t, f[2]) != remote {
			continue
		}
		list = append(list, procAddress(t, f[1]))
	}
	return list
}

// procAddress parses an address of /proc/net/tcp.
func procAddress(t *testing.T, s string) netip.AddrPort {
	ip, port, _ := strings.Cut(s, ":")
	b, err := hex.DecodeString(ip)
	require.NoError(t, err)
	n, err := strconv.ParseUint(port, 16, 16)
	require.NoError(t, err)
	var a [4]byte
	binary.NativeEndian.PutUint32(a[:], binary.BigEndian.Uint32(b))
	return netip.AddrPortFrom(netip.AddrFrom4(a), uint16(n))
}
