package l4

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"weir/conf"
)

// A client is admitted by its address or by an endpoint in its PROXY header; deny wins.
func TestAdmissionByEndpoint(t *testing.T) {
	aws := func(id string) conf.Endpoint { return conf.Endpoint{Type: 0xea, Value: "\x01" + id} }
	tlv := func(typ byte, value string) string {
		return string([]byte{typ, byte(len(value) >> 8), byte(len(value))}) + value
	}
	inside, outside := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("192.0.2.1")
	for _, c := range []struct {
		name        string
		allow, deny AccessList
		client      netip.Addr
		tlvs        string
		want        Rejection
	}{
		{"nothing listed", AccessList{}, AccessList{}, outside, tlv(0xea, "\x01a"), Admitted},
		{"by id", AccessList{Endpoints: NewEndpointSet([]conf.Endpoint{aws("a"), aws("b")})}, AccessList{}, outside, tlv(1, "h2") + tlv(0xea, "\x01b"), Admitted},
		{"by a second TLV", AccessList{Endpoints: NewEndpointSet([]conf.Endpoint{aws("b")})}, AccessList{}, outside, tlv(0xea, "\x01a") + tlv(0xea, "\x01b"), Admitted},
		{"unix client by id", AccessList{Endpoints: NewEndpointSet([]conf.Endpoint{aws("b")})}, AccessList{}, netip.Addr{}, tlv(0xea, "\x01b"), Admitted},
		{"by address", AccessList{NewAddressSet(networks("10.0.0.0/8"), false), NewEndpointSet([]conf.Endpoint{aws("b")})}, AccessList{}, inside, "", Admitted},
		{"by neither", AccessList{NewAddressSet(networks("10.0.0.0/8"), false), NewEndpointSet([]conf.Endpoint{aws("b")})}, AccessList{}, outside, tlv(0xea, "\x01a"), RejectedDenied},
		{"only ids, no header", AccessList{Endpoints: NewEndpointSet([]conf.Endpoint{aws("b")})}, AccessList{}, inside, "", RejectedDenied},
		{"prefix of an id", AccessList{Endpoints: NewEndpointSet([]conf.Endpoint{aws("bc")})}, AccessList{}, inside, tlv(0xea, "\x01b"), RejectedDenied},
		{"other type", AccessList{Endpoints: NewEndpointSet([]conf.Endpoint{aws("b")})}, AccessList{}, inside, tlv(0xe0, "\x01b"), RejectedDenied},
		{"incomplete TLV", AccessList{Endpoints: NewEndpointSet([]conf.Endpoint{aws("b")})}, AccessList{}, inside, tlv(0xea, "\x01b")[:4], RejectedDenied},
		{"denied id, allowed address", AccessList{Addresses: NewAddressSet(networks("10.0.0.0/8"), false)}, AccessList{Endpoints: NewEndpointSet([]conf.Endpoint{aws("b")})}, inside, tlv(0xea, "\x01b"), RejectedDenied},
		{"denied address, allowed id", AccessList{Endpoints: NewEndpointSet([]conf.Endpoint{aws("b")})}, AccessList{Addresses: NewAddressSet(networks("10.0.0.0/8"), false)}, inside, tlv(0xea, "\x01b"), RejectedDenied},
		{"other id denied", AccessList{}, AccessList{Endpoints: NewEndpointSet([]conf.Endpoint{aws("b")})}, inside, tlv(0xea, "\x01"+strings.Repeat("b", 2)), Admitted},
	} {
		a := Admission{State: NewAdmissionState(false, 64), Allow: c.allow, Deny: c.deny}
		_, why := a.acquire(c.client, []byte(c.tlvs), 0)
		require.Equal(t, c.want, why, c.name)
	}
}

// A look-up allocates nothing, whatever the header.
func TestEndpointLookupsDoNotAllocate(t *testing.T) {
	s := NewEndpointSet([]conf.Endpoint{{Type: 0xea, Value: "\x01vpce-0abc"}})
	tlvs := []byte("\x01\x00\x02h2\xea\x00\x0a\x01vpce-0abd" + "\xea\x00\x0a\x01vpce-0abc")
	require.Zero(t, testing.AllocsPerRun(100, func() {
		if !s.containsAny(tlvs) {
			t.Fatal("not found")
		}
	}))
}
