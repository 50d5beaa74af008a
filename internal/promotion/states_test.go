package promotion

import (
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// addEthernet adds an Ethernet interface that is up, and returns its index.
func addEthernet(t *testing.T, name string) uint32 {
	pair := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: name + "-peer"}
	require.NoError(t, netlink.LinkAdd(pair))
	require.NoError(t, netlink.LinkSetUp(pair))
	peer, err := netlink.LinkByName(name + "-peer")
	require.NoError(t, err)
	require.NoError(t, netlink.LinkSetUp(peer))
	link, err := netlink.LinkByName(name)
	require.NoError(t, err)
	return uint32(link.Attrs().Index)
}

// message returns an ICMP error about a datagram, as a frame from a router.
func message(about datagram, icmp4, icmp6 [2]byte) []byte {
	inner := about.frame()[14:]
	outer := datagram{from: netip.MustParseAddrPort("10.9.9.9:0"), to: netip.AddrPortFrom(about.from.Addr(), 0), ttl: 60}
	head, protocol, typ := 20, unix.IPPROTO_ICMP, icmp4
	if about.from.Addr().Is6() {
		outer.from = netip.MustParseAddrPort("[fd09::9]:0")
		head, protocol, typ = 40, unix.IPPROTO_ICMPV6, icmp6
	}
	frame := outer.frame()[:14+head]
	frame[14+map[int]int{20: 9, 40: 6}[head]] = byte(protocol)
	return append(append(frame, typ[0], typ[1], 0, 0, 0, 0, 5, 20), inner...)
}

// A packet on another interface, and a router's refusal of a packet for its size, end the forwarding; a suspended session is forwarded again
// after Resume and a packet in each direction. No packet is touched meanwhile.
func TestStates(t *testing.T) {
	for _, ip := range []struct{ client, listener, local, server string }{
		{"10.0.0.1:1000", "10.0.0.2:2000", "10.1.0.2:3000", "10.1.0.3:4000"},
		{"[fd00::1]:1000", "[fd00::2]:2000", "[fd01::2]:3000", "[fd01::3]:4000"},
	} {
		ownNetwork(t)
		other := addEthernet(t, "other")
		k := open(t, 4)
		client, server := legs(ip.client, ip.listener, ip.local, ip.server)
		n, err := k.addLocal(client, server)
		require.NoError(t, err)
		up := datagram{from: client.Remote, to: client.Local, ttl: 64, payload: []byte("question")}
		sent := datagram{from: server.Local, to: server.Remote, ttl: 63, payload: up.payload}
		down := datagram{from: server.Remote, to: server.Local, ttl: 64, payload: []byte("answer")}
		untouched := func(frame []byte) {
			t.Helper()
			verdict, out := k.run(t, frame, loopback)
			require.EqualValues(t, verdictNext, verdict)
			require.Equal(t, frame, out)
		}

		k.forwardNow(n, loopback, loopback)
		for _, m := range [][]byte{
			message(sent, [2]byte{unix.IPPROTO_ICMP, 4}, [2]byte{1, 4}),                                                         // other messages
			message(datagram{from: sent.from, to: netip.AddrPortFrom(sent.to.Addr(), 1), ttl: 9}, [2]byte{3, 4}, [2]byte{2, 0}), // about another datagram
			message(sent, [2]byte{3, 3}, [2]byte{1, 4}),                                                                         // port unreachable
			message(sent, [2]byte{3, 4}, [2]byte{2, 0})[:60],                                                                    // cut off
		} {
			untouched(m)
			require.Equal(t, Forwarding, k.Traffic(n).State)
		}
		untouched(message(sent, [2]byte{3, 4}, [2]byte{2, 0}))
		require.Equal(t, TooBig, k.Traffic(n).State)
		untouched(up.frame())

		k.forwardNow(n, other, other)
		untouched(up.frame())
		require.Equal(t, Moved, k.Traffic(n).State)
		untouched(up.frame())

		k.forwardNow(n, loopback, loopback)
		k.Suspend()
		require.Equal(t, Suspended, k.Traffic(n).State)
		untouched(up.frame())
		require.ErrorIs(t, k.Resume(n), ErrNoRoute)
		atomic.StoreUint32(&k.records[n].state, stateWatch)
		untouched(down.frame())
		require.Equal(t, Forwarding, k.Traffic(n).State)

		// A frame for another host's address is not this host's to forward.
		k.forwardNow(n, other, other)
		verdict, out := k.run(t, up.frame(), other)
		require.EqualValues(t, verdictNext, verdict)
		require.Equal(t, up.frame(), out)
		require.Equal(t, Forwarding, k.Traffic(n).State)
		require.Zero(t, k.Traffic(n).Up.Packets)
	}
}

// A flow is added only where its packets leave through interfaces with the program.
func TestRoutes(t *testing.T) {
	ownNetwork(t)
	for _, name := range []string{"a", "b"} {
		link, err := netlink.LinkByIndex(int(addEthernet(t, name)))
		require.NoError(t, err)
		for _, at := range map[string][]string{"a": {"10.1.0.2/24", "fd01::2/64"}, "b": {"10.2.0.2/24"}}[name] {
			address, err := netlink.ParseAddr(at)
			require.NoError(t, err)
			address.Flags |= unix.IFA_F_NODAD
			require.NoError(t, netlink.AddrAdd(link, address))
		}
	}
	k := open(t, 4)
	add := func(client, listener, local, server string) error {
		one, two := legs(client, listener, local, server)
		n, err := k.AddFlow(one, two)
		if err == nil {
			k.Remove(n)
		}
		return err
	}
	between := func() error { return add("10.1.0.1:1", "10.1.0.2:2", "10.2.0.2:3", "10.2.0.1:4") }
	require.ErrorIs(t, between(), ErrInterfaces)
	require.NoError(t, k.Attach([]string{"a"}))
	require.ErrorIs(t, between(), ErrInterfaces)
	require.NoError(t, k.Attach([]string{"a", "b", "lo"}))
	require.NoError(t, between())
	require.NoError(t, add("[fd01::1]:1", "[fd01::2]:2", "[fd01::2]:3", "[fd01::3]:4"), "one interface for both legs")
	require.NoError(t, add("127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3", "127.0.0.1:4"))
	require.ErrorIs(t, add("10.1.0.1:1", "10.1.0.2:2", "127.0.0.1:3", "127.0.0.1:4"), ErrInterfaces, "the loopback interface and another one")
	require.ErrorIs(t, add("10.1.0.1:1", "10.9.9.9:2", "10.2.0.2:3", "10.2.0.1:4"), ErrNoRoute, "an address of another host")
	require.ErrorIs(t, add("10.1.0.1:1", "10.1.0.2:2", "10.2.0.2:3", "192.0.2.1:4"), ErrNoRoute)
	require.ErrorIs(t, add("10.1.0.1:1", "10.1.0.2:2", "[fd01::2]:3", "[fd01::1]:4"), ErrFamilies)

	one, two := legs("10.1.0.1:1", "10.1.0.2:2", "10.2.0.2:3", "10.2.0.1:4")
	n, err := k.AddFlow(one, two)
	require.NoError(t, err)
	k.Suspend()
	require.NoError(t, k.Resume(n))
	require.Equal(t, Watching, k.Traffic(n).State)
	k.Suspend()
	require.NoError(t, k.Attach([]string{"a"}))
	require.ErrorIs(t, k.Resume(n), ErrInterfaces)
	k.Remove(n)
}

// An interface that is replaced by one of the same name gets the program, and one without Ethernet headers does not.
func TestAttach(t *testing.T) {
	ownNetwork(t)
	k := open(t, 4)
	require.EqualError(t, k.Attach([]string{"a", "lo"}), "a: this host has no such network interface")
	require.Equal(t, []string{"lo"}, k.Attached())
	first := addEthernet(t, "a")
	require.NoError(t, k.Attach([]string{"a", "lo"}))
	link, err := netlink.LinkByName("a")
	require.NoError(t, err)
	require.NoError(t, netlink.LinkDel(link))
	require.Error(t, k.Attach([]string{"a", "lo"}))
	require.Equal(t, []string{"lo"}, k.Attached())
	require.NotEqual(t, first, addEthernet(t, "a"))
	require.NoError(t, k.Attach([]string{"a", "lo"}))
	require.Equal(t, []string{"a", "lo"}, k.Attached())
	require.NoError(t, netlink.LinkAdd(&netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: "tun"}, Mode: netlink.TUNTAP_MODE_TUN}))
	require.ErrorContains(t, k.Attach([]string{"tun"}), "Ethernet")
	k.Close()
	require.Error(t, k.Attach([]string{"lo"}))
	k.Close()
}

// duplicates returns copies of a Kernel's descriptors, as another process gets them.
func duplicates(t *testing.T, k *Kernel) map[string]int32 {
	all := map[string]int32{}
	for name, fd := range k.Descriptors() {
		copied, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		require.NoError(t, err)
		all[name] = int32(copied)
	}
	return all
}

// The program stays attached while one of two processes has its descriptors, and the second one can use its tables.
func TestInherit(t *testing.T) {
	ownNetwork(t)
	first := open(t, 4)
	require.NoError(t, first.Attach([]string{"lo"}))
	client, server := legs("127.0.0.1:1000", "127.0.0.1:2000", "127.0.0.1:3000", "127.0.0.1:4000")
	_, err := first.AddFlow(client, server)
	require.NoError(t, err)
	second, err := Inherit(duplicates(t, first))
	require.NoError(t, err)
	t.Cleanup(second.Close)
	second.Reset()
	require.NoError(t, second.Attach([]string{"lo"}))
	require.Equal(t, []string{"lo"}, second.Attached())
	first.Close()
	n, err := second.AddFlow(client, server)
	require.NoError(t, err, "the sessions of the first are gone")
	up := datagram{from: client.Remote, to: client.Local, ttl: 64}.frame()
	down := datagram{from: server.Remote, to: server.Local, ttl: 64}.frame()
	for _, frame := range [][]byte{up, down, up} {
		second.run(t, frame, loopback)
	}
	require.EqualValues(t, 1, second.Traffic(n).Up.Packets)

	other := duplicates(t, second)
	other["program of another version"] = other[programName+Version()]
	delete(other, programName+Version())
	before := openDescriptors(t)
	_, err = Inherit(other)
	require.ErrorIs(t, err, ErrVersion)
	require.Equal(t, before-4, openDescriptors(t))
}

func openDescriptors(t *testing.T) int {
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(entries)
}

func TestMissing(t *testing.T) {
	for release, lacks := range map[string]bool{
		"6.6.0": false, "6.18.44-fc-v657": false, "7.0": false, "": false, "6.5.13": true, "5.15.0-91-generic": true, "6.1.0-18-amd64": true,
	} {
		require.Equal(t, lacks, oldKernel(release) != nil, release)
	}
	require.EqualError(t, lackingCapabilities(1<<unix.CAP_NET_ADMIN), "missing capability CAP_BPF, CAP_PERFMON")
	require.NoError(t, lackingCapabilities(^uint64(0)))
	require.True(t, strings.HasPrefix(oldKernel("6.5").Error(), "want Linux 6.6 or later"))
	require.NoError(t, HostLacks())
}
