package tcp_test

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// withoutIPv6 as the first argument makes the test binary become the program in the next arguments, which cannot open
// IPv6 sockets.
const withoutIPv6 = "run-without-ipv6"

// runWithoutIPv6 installs a seccomp filter that makes socket(AF_INET6) fail as a kernel without IPv6 does, and becomes
// the program in args. It returns after an error.
func runWithoutIPv6(args []string) int {
	runtime.LockOSThread()
	const loadWord, jumpEqual, ret = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, unix.BPF_RET | unix.BPF_K
	filter := []unix.SockFilter{
		{Code: loadWord, K: 0}, // number of the system call
		{Code: jumpEqual, K: unix.SYS_SOCKET, Jf: 3},
		{Code: loadWord, K: 16}, // its first argument
		{Code: jumpEqual, K: unix.AF_INET6, Jf: 1},
		{Code: ret, K: 0x00050000 | uint32(unix.EAFNOSUPPORT)}, // SECCOMP_RET_ERRNO
		{Code: ret, K: 0x7fff0000},                             // SECCOMP_RET_ALLOW
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	if err == nil {
		err = unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&program)), 0, 0)
	}
	if err == nil {
		err = syscall.Exec(args[0], args, os.Environ())
	}
	fmt.Fprintln(os.Stderr, err)
	return 2
}

// An address without a host means all IPv4 addresses if there is no IPv6: for TCP, UDP and the API, after a reload and an
// upgrade. An IPv6 address fails.
func TestAddressWithoutHostNeedsNoIPv6(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	require.NoError(t, err)
	port := func(addr string) string { _, port, _ := net.SplitHostPort(addr); return port }
	tcp, udp, api, later := port(nettest.Reserve(t)), port(nettest.ReserveDatagrams(t)), port(nettest.Reserve(t)), port(nettest.Reserve(t))
	host, datagrams := nettest.Start(t, nettest.Echo), nettest.StartDatagrams(t, nettest.ReplyWithName("a"))
	token := t.TempDir() + "/token"
	require.NoError(t, os.WriteFile(token, []byte("0123456789abcdef0123456789abcdef\n"), 0o600))
	a := weirtest.NewAPI(t)
	config := a.AddTo(weirtest.Config{
		Listen: ":" + tcp, Levels: weirtest.OneLevel(host.Addr()),
		More: weirtest.ListenerTables("u", ":"+udp, datagrams.Addr()),
	}.String(), ":"+api)
	config = strings.Replace(config, "[log]", fmt.Sprintf("token_file = %q\n[log]", token), 1)
	config = strings.Replace(config, "name = \"u\"", "name = \"u\"\nprotocol = \"udp\"\nflow_timeout = \"4s\"", 1)
	w := weirtest.Options{Wrapper: []string{self, withoutIPv6}, Program: weirtest.CopyProgram(t)}.Start(t, config)
	serves := func(tcp string) {
		t.Helper()
		text, _ := weirtest.EchoOnce(t, "127.0.0.1:"+tcp)
		require.Equal(t, "hello", text)
		require.Contains(t, nettest.DialDatagrams(t, "", "127.0.0.2:"+udp).RoundTrip("x"), "a")
		c := nettest.Dial(t, "127.0.0.1:"+api)
		defer c.Close()
		require.NoError(t, weirtest.WriteText(c, "GET /healthz HTTP/1.0\r\nAuthorization: Bearer 0123456789abcdef0123456789abcdef\r\n\r\n"))
		data, _ := nettest.ReadToEnd(c, 5*time.Second)
		require.Contains(t, string(data), "200 OK")
	}
	serves(tcp)
	warnings := func() int {
		return len(w.Records(func(r weirtest.Record) bool { return strings.Contains(r.Text("msg"), "IPv6 is not available") }))
	}
	require.Equal(t, 3, warnings())
	w.WriteConfig(strings.Replace(config, ":"+tcp, ":"+later, 1))
	a.MustDo("POST /v1/reload", "")
	serves(later)
	nettest.Wait(t, 5*time.Second, "another warning", func() bool { return warnings() == 4 })
	w.Upgrade()
	serves(later)
	w.WriteConfig(strings.Replace(config, ":"+tcp, "[::1]:"+tcp, 1))
	code, text := a.Do("POST /v1/reload", "")
	require.GreaterOrEqual(t, code, 400)
	require.Contains(t, text, "address family not supported")
	serves(later)
}
