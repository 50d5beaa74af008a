package l4

import (
	"net/netip"

	"weir/conf"
	"weir/internal/proxy"
)

// EndpointSet is an immutable set of clients' endpoints in clouds: values of TLVs of PROXY headers, by type. nil is the empty
// set.
type EndpointSet map[byte]map[string]struct{}

// NewEndpointSet returns a set of endpoints.
func NewEndpointSet(list []conf.Endpoint) EndpointSet {
	if len(list) == 0 {
		return nil
	}
	s := EndpointSet{}
	for _, e := range list {
		if s[e.Type] == nil {
			s[e.Type] = map[string]struct{}{}
		}
		s[e.Type][e.Value] = struct{}{}
	}
	return s
}

// containsAny reports whether one of the TLVs of a PROXY header is in the set. Values are compared as a whole.
func (s EndpointSet) containsAny(tlvs []byte) bool {
	if s == nil {
		return false
	}
	for typ, value := range proxy.EachTLV(tlvs) {
		if _, found := s[typ][string(value)]; found {
			return true
		}
	}
	return false
}

// AccessList is an immutable list of clients, by their addresses or their endpoints in clouds.
type AccessList struct {
	Addresses *AddressSet
	Endpoints EndpointSet
}

func (a *AccessList) isEmpty() bool { return a.Addresses == nil && a.Endpoints == nil }

// contains reports whether a client is in the list, by its address or by the TLVs of its PROXY header.
func (a *AccessList) contains(client netip.Addr, tlvs []byte) bool {
	return a.Addresses.Contains(client) || a.Endpoints.containsAny(tlvs)
}
