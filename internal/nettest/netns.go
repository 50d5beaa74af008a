package nettest

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// Namespace is a network namespace with the whole of 127.0.0.0/8 and ::1, all ports, and its own filters and settings.
// It has no name in the file system and disappears with the test, even if the test is killed. Creating one requires
// root.
type Namespace struct {
	t       testing.TB
	file    *os.File
	devices int // number of veth pairs
}

// NewNamespace creates a namespace with a working loopback interface.
func NewNamespace(t testing.TB) *Namespace {
	t.Helper()
	ns := &Namespace{t: t}
	onThread(t, func() {
		require.NoError(t, unix.Unshare(unix.CLONE_NEWNET), "making a network namespace (tests run as root)")
		var err error
		ns.file, err = os.Open("/proc/thread-self/ns/net")
		require.NoError(t, err)
	})
	t.Cleanup(func() { ns.file.Close() })
	ns.Exec("ip", "link", "set", "lo", "up")
	return ns
}

// Isolate moves the test process to a network namespace of its own, by starting its program again there. TestMain calls it
// first. The packet filters of its tests then concern no other process.
func Isolate() error {
	const marker = "WEIR_TEST_ISOLATED"
	if os.Getenv(marker) != "" {
		os.Unsetenv(marker)
		if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
			return fmt.Errorf("ip link set lo up: %w: %s", err, out)
		}
		return nil
	}
	program, err := os.Executable()
	if err != nil {
		return err
	}
	runtime.LockOSThread() // the program inherits the namespace of this thread
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("making a network namespace (tests run as root): %w", err)
	}
	return unix.Exec(program, os.Args, append(os.Environ(), marker+"=1"))
}

// CurrentNamespace returns the namespace of the test process.
func CurrentNamespace(t testing.TB) *Namespace {
	t.Helper()
	file, err := os.Open("/proc/self/ns/net")
	require.NoError(t, err)
	t.Cleanup(func() { file.Close() })
	return &Namespace{t: t, file: file}
}

// Connect joins two namespaces by a veth pair: ns gets the first address and o the other one, both in one network (/24
// or, for IPv6, /64). The interfaces are named eth0, eth1 and so on.
func (ns *Namespace) Connect(o *Namespace, ip, other string) {
	ns.t.Helper()
	peer := fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), o.file.Fd())
	device, remote := ns.nextDevice(), o.nextDevice()
	ns.Exec("ip", "link", "add", device, "type", "veth", "peer", "name", remote, "netns", peer)
	ns.plug(device, ip)
	o.plug(remote, other)
}

func (ns *Namespace) nextDevice() string {
	ns.devices++
	return fmt.Sprintf("eth%d", ns.devices-1)
}

func (ns *Namespace) plug(device, ip string) {
	ns.t.Helper()
	address := []string{"address", "add", ip + "/24", "dev", device}
	if strings.Contains(ip, ":") {
		address = []string{"address", "add", ip + "/64", "dev", device, "nodad"}
	}
	ns.Exec("ip", address...)
	ns.Exec("ip", "link", "set", device, "up")
}

// AddAddress adds an address to the loopback interface and waits until it is in use: the kernel completes IPv6 addresses
// later.
func (ns *Namespace) AddAddress(ip string) {
	ns.t.Helper()
	family, options := "-4", []string{}
	if strings.Contains(ip, ":") {
		family, options = "-6", []string{"nodad"}
	}
	ns.Exec("ip", append([]string{family, "address", "add", ip, "dev", "lo"}, options...)...)
	Wait(ns.t, 10*time.Second, "the address "+ip, func() bool {
		return strings.Contains(ns.Exec("ip", family, "route", "show", "table", "local"), "local "+ip+" ")
	})
}

// Do runs f on a thread inside the namespace. Sockets opened and processes started by f itself (not by goroutines it
// starts) belong to the namespace permanently.
func (ns *Namespace) Do(f func()) {
	ns.t.Helper()
	onThread(ns.t, func() {
		require.NoError(ns.t, unix.Setns(int(ns.file.Fd()), unix.CLONE_NEWNET))
		f()
	})
}

// onThread runs f on a locked thread and returns the thread to its previous namespace.
func onThread(t testing.TB, f func()) {
	t.Helper()
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	require.NoError(t, err)
	defer home.Close()
	defer func() {
		if err := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); err != nil {
			t.Errorf("leaving a network namespace: %v", err)
			return // still locked: the thread ends with its goroutine
		}
		runtime.UnlockOSThread()
	}()
	f()
}

// Exec runs a program inside the namespace, fails the test when it fails, and returns its output.
func (ns *Namespace) Exec(name string, arg ...string) string {
	ns.t.Helper()
	var out []byte
	var err error
	ns.Do(func() { out, err = exec.Command(name, arg...).CombinedOutput() })
	require.NoError(ns.t, err, "%s %v: %s", name, arg, out)
	return string(out)
}

// Sysctl sets a network setting of the namespace, such as "ipv4/ip_local_port_range".
func (ns *Namespace) Sysctl(name, value string) {
	ns.t.Helper()
	var err error
	ns.Do(func() { err = os.WriteFile("/proc/sys/net/"+name, []byte(value), 0) })
	require.NoError(ns.t, err)
}

// Start runs a host inside the namespace. Port 0 picks a free one.
func (ns *Namespace) Start(addr string, h Handler) *Host {
	ns.t.Helper()
	return start(ns.t, func() net.Listener { return ns.Listen(addr) }, h)
}

// StartRedis runs redis-server inside the namespace until the test ends.
func (ns *Namespace) StartRedis(addr string, args ...string) *Redis {
	ns.t.Helper()
	r := &Redis{t: ns.t, addr: addr, args: args, ns: ns}
	r.Up()
	return r
}

// Listen opens a plain TCP listening socket inside the namespace.
func (ns *Namespace) Listen(addr string) net.Listener {
	ns.t.Helper()
	var ln net.Listener
	ns.Do(func() { ln = Listen(ns.t, addr) })
	return ln
}

// Dial connects from inside the namespace, or fails the test. The connection is closed at the end of the test at the latest.
func (ns *Namespace) Dial(addr string) *net.TCPConn {
	ns.t.Helper()
	c, err := ns.TryDial(addr)
	require.NoError(ns.t, err)
	ns.t.Cleanup(func() { c.Close() })
	return c
}

// TryDial connects from inside the namespace or returns the error.
func (ns *Namespace) TryDial(addr string) (*net.TCPConn, error) {
	var c net.Conn
	var err error
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	ns.Do(func() { c, err = new(net.Dialer).DialContext(ctx, "tcp", addr) })
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}

// Filter adds nftables rules for packets that arrive in the namespace, such as "tcp dport 6379 drop". They remain until
// ClearFilter.
func (ns *Namespace) Filter(rules ...string) {
	ns.t.Helper()
	ns.Exec("nft", "add table inet weir; add chain inet weir input { type filter hook input priority 0; }")
	for _, rule := range rules {
		ns.Exec("nft", "add rule inet weir input "+rule)
	}
}

// ClearFilter removes all rules.
func (ns *Namespace) ClearFilter() {
	ns.t.Helper()
	ns.Exec("nft", "flush ruleset")
}

// DropSYN drops SYNs to a port, so that a dial neither succeeds nor fails. Established connections continue.
func (ns *Namespace) DropSYN(port uint16) {
	ns.t.Helper()
	ns.Filter(fmt.Sprintf("tcp dport %d tcp flags & (syn|ack) == syn drop", port))
}

// DropAll drops all packets to and from a port.
func (ns *Namespace) DropAll(port uint16) {
	ns.t.Helper()
	ns.Filter(fmt.Sprintf("tcp dport %d drop", port), fmt.Sprintf("tcp sport %d drop", port))
}

// Reject rejects packets to a port. with is the nftables reject type, such as "icmp host-unreachable" or "tcp reset".
func (ns *Namespace) Reject(port uint16, with string) {
	ns.t.Helper()
	ns.Filter(fmt.Sprintf("tcp dport %d reject with %s", port, with))
}
