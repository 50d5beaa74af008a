package promotion

import (
	"encoding/binary"
	"net/netip"
	"sync/atomic"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// datagram is a UDP datagram of a test.
type datagram struct {
	from, to netip.AddrPort
	ttl      uint8
	payload  []byte
	noSum    bool // without a checksum
	options  bool // with IP options, or an extension header
	fragment bool
}

// frame returns the datagram as an Ethernet frame with right checksums.
func (d datagram) frame() []byte {
	udp := binary.BigEndian.AppendUint16(nil, d.from.Port())
	udp = binary.BigEndian.AppendUint16(udp, d.to.Port())
	udp = binary.BigEndian.AppendUint16(udp, uint16(8+len(d.payload)))
	udp = append(udp, 0, 0)
	udp = append(udp, d.payload...)
	pseudo := append(d.from.Addr().AsSlice(), d.to.Addr().AsSlice()...)
	pseudo = binary.BigEndian.AppendUint32(pseudo, uint32(len(udp)))
	pseudo = binary.BigEndian.AppendUint32(pseudo, unix.IPPROTO_UDP)
	if !d.noSum {
		sum := internetChecksum(append(pseudo, udp...))
		if sum == 0 {
			sum = 0xffff
		}
		binary.BigEndian.PutUint16(udp[6:], sum)
	}
	frame := make([]byte, 12, 14+40+len(udp))
	if d.from.Addr().Is6() {
		frame = binary.BigEndian.AppendUint16(frame, unix.ETH_P_IPV6)
		frame = append(frame, 0x60, 0, 0, 0)
		next := byte(unix.IPPROTO_UDP)
		if d.options {
			next = unix.IPPROTO_DSTOPTS
			udp = append([]byte{unix.IPPROTO_UDP, 0, 1, 4, 0, 0, 0, 0}, udp...)
		}
		frame = binary.BigEndian.AppendUint16(frame, uint16(len(udp)))
		frame = append(frame, next, d.ttl)
		frame = append(frame, d.from.Addr().AsSlice()...)
		frame = append(frame, d.to.Addr().AsSlice()...)
		return append(frame, udp...)
	}
	frame = binary.BigEndian.AppendUint16(frame, unix.ETH_P_IP)
	words := byte(5)
	var options []byte
	if d.options {
		words, options = 6, []byte{1, 1, 1, 0}
	}
	ip := append([]byte{0x40 | words, 0}, binary.BigEndian.AppendUint16(nil, uint16(20+len(options)+len(udp)))...)
	ip = append(ip, 7, 7, 0x40, 0, d.ttl, unix.IPPROTO_UDP, 0, 0)
	if d.fragment {
		ip[6] = 0x20
	}
	ip = append(ip, d.from.Addr().AsSlice()...)
	ip = append(ip, d.to.Addr().AsSlice()...)
	ip = append(ip, options...)
	binary.BigEndian.PutUint16(ip[10:], internetChecksum(ip))
	return append(append(frame, ip...), udp...)
}

func internetChecksum(b []byte) uint16 {
	sum := uint32(0)
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// context is the start of struct __sk_buff, up to the interface.
type context struct {
	Len, PktType, Mark, QueueMapping, Protocol, VlanPresent, VlanTCI, VlanProto, Priority, IngressIfindex, Ifindex uint32
	_                                                                                                              [38]uint32
}

const verdictNext = 0xffffffff // TCX_NEXT

// run lets the program handle a frame that has arrived on an interface.
func (k *Kernel) run(t require.TestingT, frame []byte, arrives uint32) (verdict uint32, out []byte) {
	out = make([]byte, len(frame)+256)
	options := ebpf.RunOptions{Data: frame, DataOut: out, Context: context{Ifindex: arrives}}
	verdict, err := k.program.Run(&options)
	require.NoError(t, err)
	return verdict, options.DataOut
}

func open(t *testing.T, sessions int) *Kernel {
	k, err := Open(sessions)
	require.NoError(t, err)
	t.Cleanup(k.Close)
	return k
}

// addLocal promotes a flow all of whose packets are on the loopback interface.
func (k *Kernel) addLocal(client, server Leg) (Number, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.add([2]Leg{client, server}, [2]uint32{loopback, loopback})
}

// forwardNow makes the kernel forward a session that arrives on an interface in each direction.
func (k *Kernel) forwardNow(n Number, client, server uint32) {
	r := &k.records[n]
	r.directions[0].arrives, r.directions[1].arrives = client, server
	r.directions[0].leaves, r.directions[1].leaves = server, client
	atomic.StoreUint32(&r.state, stateForward)
}

// The translated datagram is byte for byte the one that the other leg would send.
func TestTranslation(t *testing.T) {
	k := open(t, 1<<14)
	rapid.Check(t, func(t *rapid.T) {
		v6 := rapid.Bool().Draw(t, "IPv6")
		at := func(name string) netip.AddrPort {
			ip, _ := netip.AddrFromSlice(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, name))
			if v6 {
				ip, _ = netip.AddrFromSlice(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, name))
			}
			return netip.AddrPortFrom(ip, rapid.Uint16().Draw(t, name+" port"))
		}
		client, server := Leg{Remote: at("client"), Local: at("listener")}, Leg{Remote: at("server"), Local: at("local")}
		n, err := k.addLocal(client, server)
		if err != nil {
			return // both directions have the same key, or the records are used up
		}
		defer k.Remove(n)
		const lo = loopback
		k.forwardNow(n, lo, lo)
		up := rapid.Bool().Draw(t, "up")
		in := datagram{from: client.Remote, to: client.Local}
		want := datagram{from: server.Local, to: server.Remote}
		if !up {
			in, want = datagram{from: server.Remote, to: server.Local}, datagram{from: client.Local, to: client.Remote}
		}
		in.payload = rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "payload")
		in.ttl = uint8(rapid.IntRange(1, 255).Draw(t, "ttl"))
		in.noSum = !v6 && rapid.Bool().Draw(t, "no checksum")
		want.payload, want.ttl, want.noSum = in.payload, in.ttl, in.noSum
		verdict, out := k.run(t, in.frame(), lo)
		require.EqualValues(t, verdictNext, verdict)
		require.Equal(t, want.frame(), out)
		traffic := k.Traffic(n)
		if !up {
			traffic.Up, traffic.Down = traffic.Down, traffic.Up
		}
		require.EqualValues(t, 1, traffic.Up.Packets)
		require.EqualValues(t, len(in.payload), traffic.Up.Bytes)
		require.Positive(t, traffic.Up.Last)
		require.Zero(t, traffic.Down)
	})
}

// legs returns the legs of a session.
func legs(client, listener, local, server string) (Leg, Leg) {
	return Leg{Remote: netip.MustParseAddrPort(client), Local: netip.MustParseAddrPort(listener)}, Leg{Remote: netip.MustParseAddrPort(server), Local: netip.MustParseAddrPort(local)}
}

func TestWhatIsNotForwarded(t *testing.T) {
	for _, ip := range []struct{ client, listener, local, server string }{
		{"10.0.0.1:1000", "10.0.0.2:2000", "10.1.0.2:3000", "10.1.0.3:4000"},
		{"[fd00::1]:1000", "[fd00::2]:2000", "[fd01::2]:3000", "[fd01::3]:4000"},
	} {
		k := open(t, 4)
		client, server := legs(ip.client, ip.listener, ip.local, ip.server)
		n, err := k.addLocal(client, server)
		require.NoError(t, err)
		good := datagram{from: client.Remote, to: client.Local, ttl: 64, payload: []byte("question")}
		other := uint32(loopback + 1)
		for _, test := range []struct {
			name           string
			client, server uint32 // interfaces on which packets have arrived
			change         func(*datagram)
		}{
			{"another port", loopback, loopback, func(d *datagram) { d.from = netip.AddrPortFrom(d.from.Addr(), 1001) }},
			{"options", loopback, loopback, func(d *datagram) { d.options = true }},
			{"a fragment", loopback, loopback, func(d *datagram) { d.fragment, d.options = true, d.from.Addr().Is6() }},
			{"from lo, when it has come from elsewhere", other, other, func(*datagram) {}},
		} {
			d := good
			test.change(&d)
			k.forwardNow(n, test.client, test.server)
			verdict, out := k.run(t, d.frame(), loopback)
			require.EqualValues(t, verdictNext, verdict, test.name)
			require.Equal(t, d.frame(), out, test.name)
		}
		require.Zero(t, k.Traffic(n).Up.Packets)
		k.Remove(n)
		verdict, out := k.run(t, good.frame(), loopback)
		require.EqualValues(t, verdictNext, verdict)
		require.Equal(t, good.frame(), out, "removed")
	}
}

// A flow is forwarded once both directions have been seen.
func TestForwardedAfterBothDirections(t *testing.T) {
	k := open(t, 4)
	client, server := legs("127.0.0.1:1000", "127.0.0.2:2000", "127.0.0.2:3000", "127.0.0.3:4000")
	n, err := k.addLocal(client, server)
	require.NoError(t, err)
	up := datagram{from: client.Remote, to: client.Local, ttl: 64, payload: []byte("question")}.frame()
	down := datagram{from: server.Remote, to: server.Local, ttl: 64, payload: []byte("answer")}.frame()
	for range 3 {
		_, out := k.run(t, up, loopback)
		require.Equal(t, up, out)
	}
	require.Equal(t, Watching, k.Traffic(n).State)
	_, out := k.run(t, down, loopback)
	require.Equal(t, down, out)
	require.Equal(t, Forwarding, k.Traffic(n).State)
	require.Zero(t, k.Traffic(n).Down.Packets)
	_, out = k.run(t, up, loopback)
	require.NotEqual(t, up, out)
	require.EqualValues(t, 1, k.Traffic(n).Up.Packets)
}

func TestRecordsAreBounded(t *testing.T) {
	k := open(t, 2)
	add := func(port string) (Number, error) {
		client, server := legs("127.0.0.1:"+port, "127.0.0.2:2000", "127.0.0.2:"+port, "127.0.0.3:4000")
		return k.addLocal(client, server)
	}
	a, err := add("1")
	require.NoError(t, err)
	_, err = add("1")
	require.ErrorIs(t, err, ErrTaken)
	_, err = add("2")
	require.ErrorIs(t, err, ErrFull, "the record of the refused one is not free at once")
	require.Eventually(t, func() bool { _, err = add("2"); return err == nil }, 10*reuseAfter, reuseAfter/10)
	_, err = add("3")
	require.ErrorIs(t, err, ErrFull)
	k.Remove(a)
	_, err = add("3")
	require.ErrorIs(t, err, ErrFull)
	require.Eventually(t, func() bool { _, err = add("3"); return err == nil }, 10*reuseAfter, reuseAfter/10)

	client, server := legs("127.0.0.1:1", "127.0.0.2:2000", "[::1]:1", "[::1]:2")
	_, err = k.AddFlow(client, server)
	require.ErrorIs(t, err, ErrFamilies)
}
