package l4

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// IPv6 clients count by their prefix, IPv4 clients by their address, however it is written.
func TestClientsCountBySource(t *testing.T) {
	for _, test := range []struct {
		prefix int
		a, b   string
		same   bool
	}{
		{64, "2001:db8::1", "2001:db8::ffff:1", true},
		{64, "2001:db8::1", "2001:db8:0:1::1", false},
		{56, "2001:db8::1", "2001:db8:0:ff::1", true},
		{60, "2001:db8::1", "2001:db8:0:f::1", true},
		{60, "2001:db8::1", "2001:db8:0:10::1", false},
		{128, "2001:db8::1", "2001:db8::2", false},
		{1, "4000::1", "7fff::1", true},
		{1, "7fff::1", "8000::1", false},
		{1, "10.0.0.1", "10.0.0.2", false},
		{64, "10.0.0.1", "::ffff:10.0.0.1", true},
		{64, "::ffff:10.0.0.1", "::ffff:10.0.0.2", false},
		{96, "::ffff:10.0.0.1", "10.0.0.2", false},
	} {
		for _, a := range []Admission{{MaxPerSource: 1}, {MaxRatePerSource: 1}} {
			a.State = NewAdmissionState(a.MaxPerSource > 0, test.prefix)
			first, why := a.acquire(netip.MustParseAddr(test.a), nil, 0)
			require.Equal(t, Admitted, why)
			second, why := a.acquire(netip.MustParseAddr(test.b), nil, 0)
			require.Equal(t, test.same, why != Admitted, "%+v", test)
			a.release(&first, netip.MustParseAddr(test.a))
			a.release(&second, netip.MustParseAddr(test.b))
			require.Zero(t, a.State.Sources())
			require.Zero(t, a.State.Sessions())
		}
	}
}

// A list that names an IPv4 client applies to the client's IPv4-mapped address in a PROXY header.
func TestMappedClientIsDenied(t *testing.T) {
	a := Admission{State: NewAdmissionState(false, 64), Deny: AccessList{Addresses: NewAddressSet([]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, false)}}
	_, why := a.acquire(netip.MustParseAddr("::ffff:10.0.0.1"), nil, 0)
	require.Equal(t, RejectedDenied, why)
}

// Each source has its own rate with a burst of one second's worth. A session that gets no slot gives its unit back.
func TestRatePerSource(t *testing.T) {
	a := Admission{State: NewAdmissionState(false, 64), MaxRatePerSource: 10, MaxSessionRate: 25}
	one, two, three := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("2001:db8::1")
	admitted := func(ip netip.Addr, now time.Duration) (n int) {
		for range 20 {
			held, why := a.acquire(ip, nil, now)
			if why == Admitted {
				n++
				a.release(&held, ip)
			}
		}
		return n
	}
	require.Equal(t, 10, admitted(one, 0))
	require.Equal(t, 10, admitted(two, 0))
	require.Equal(t, 5, admitted(three, 0), "the listener's rate")
	require.Equal(t, 1, admitted(one, 100*time.Millisecond))
	require.Equal(t, 10, admitted(three, 500*time.Millisecond), "what the listener rejected is no use of the source's rate")
	_, why := a.acquire(one, nil, 100*time.Millisecond)
	require.Equal(t, RejectedRatePerSource, why)
	held, why := a.acquire(one, nil, 5*time.Second)
	require.Equal(t, Admitted, why)
	a.cancel(&held, one)
	require.Equal(t, 10, admitted(one, 5*time.Second))
	_, why = a.acquire(netip.Addr{}, nil, 5*time.Second)
	require.Equal(t, Admitted, why, "a client of a unix socket has no source")
}

// A source that uses up its rate stays limited while any number of others come once.
func TestRatePerSourceDuringFlood(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	a := Admission{State: NewAdmissionState(false, 64), MaxRatePerSource: 5}
	greedy := netip.MustParseAddr("192.0.2.1")
	admitted, once := 0, 0
	for i := range 200_000 { // 10 s
		now := time.Duration(i) * 50 * time.Microsecond
		if i%10 == 0 {
			if _, why := a.acquire(greedy, nil, now); why == Admitted {
				admitted++
			}
			continue
		}
		var ip [4]byte
		binary.BigEndian.PutUint32(ip[:], random.Uint32())
		if _, why := a.acquire(netip.AddrFrom4(ip), nil, now); why == Admitted {
			once++
		}
	}
	require.InDelta(t, 55, admitted, 1)
	require.Greater(t, once, 179_000)
}

// A new prefix counts the existing sessions by it, and each is uncounted once.
func TestNewSourcePrefixRecounts(t *testing.T) {
	p, err := Open(Options{Loops: 1})
	require.NoError(t, err)
	defer p.Close()
	g := NewAdmissionState(true, 128)
	a := Admission{State: g, MaxPerSource: 2}
	clients := []netip.Addr{netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")}
	var held []admissionClaim
	for _, c := range clients {
		claim, why := a.acquire(c, nil, 0)
		require.Equal(t, Admitted, why)
		held = append(held, claim)
	}
	require.Equal(t, 2, g.Sources())
	p.CountSources(g, true, 64)
	for i, c := range clients { // as the loops do for their sessions
		a.countSource(&held[i], c)
	}
	require.Equal(t, 1, g.Sources())
	_, why := a.acquire(netip.MustParseAddr("2001:db8::3"), nil, 0)
	require.Equal(t, RejectedPerSource, why)
	for i, c := range clients {
		a.release(&held[i], c)
	}
	require.Zero(t, g.Sources())
}
