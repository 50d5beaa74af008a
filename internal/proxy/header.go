package proxy

import (
	"errors"
	"net/netip"
)

// Header is a parsed PROXY header.
type Header struct {
	Version   uint8 // 1 or 2
	Local     bool  // the connection is the proxy's own, such as a health check (version 2 only)
	Transport Transport
	// The client and its destination, if the header contains IP addresses: both are valid or neither is. IPv4-mapped
	// addresses are IPv4.
	Source, Dest netip.AddrPort
	TLVs         []byte // the TLVs (section 2.2), a part of the parsed bytes; version 2 only

	Pass *TypeSet // the TLVs that Append appends, by type; nil = all
}

// TypeSet is a set of types of TLVs.
type TypeSet [4]uint64

// Add adds a type.
func (s *TypeSet) Add(typ byte) { s[typ/64] |= 1 << (typ % 64) }

// Has reports whether a type is in the set; nil is the set of all types.
func (s *TypeSet) Has(typ byte) bool { return s == nil || s[typ/64]>>(typ%64)&1 == 1 }

// Transport is the transport protocol of the client's connection.
type Transport uint8

// The transports. Unspec means that the header does not specify one.
const (
	Unspec Transport = iota
	Stream
	Datagram
)

// Addresses returns the client and destination to use instead of the socket's addresses. It returns false if the
// socket's addresses apply: the connection is the proxy's own, or the header has no IP addresses or another transport.
func (h *Header) Addresses(over Transport) (client, dest netip.AddrPort, ok bool) {
	if h.Local || h.Transport != over || !h.Source.IsValid() {
		return netip.AddrPort{}, netip.AddrPort{}, false
	}
	return h.Source, h.Dest, true
}

// Errors of parsing. Only ErrIncomplete can be resolved by more bytes.
var (
	ErrIncomplete = errors.New("incomplete PROXY header")
	ErrNoHeader   = errors.New("no PROXY header")
	ErrMalformed  = errors.New("malformed PROXY header")
	ErrTooLong    = errors.New("PROXY header too long")
	ErrChecksum   = errors.New("wrong checksum in the PROXY header")
)

const (
	// MaxV1 is the maximum length of a version 1 line (section 2.1).
	MaxV1 = 107
	// MaxV2 limits version 2 headers. It is larger than any header in use, certificates included.
	MaxV2 = 4096
)

// Parse parses the header at the start of b and returns its length. It needs no bytes after the header. It returns
// ErrIncomplete as long as b may be the beginning of a header; MaxV2 bytes always suffice.
func Parse(b []byte) (h Header, size int, err error) {
	if len(b) == 0 {
		return Header{}, 0, ErrIncomplete
	}
	if b[0] == signature[0] {
		return parseV2(b)
	}
	return parseV1(b)
}

// ParseDatagram parses the header of a datagram, which must be complete and of version 2, and returns the rest of the
// datagram.
func ParseDatagram(b []byte) (h Header, payload []byte, err error) {
	h, size, err := parseV2(b)
	if err == ErrIncomplete {
		err = ErrMalformed
		if n := min(len(b), len(signature)); string(b[:n]) != signature[:n] || n < len(signature) {
			err = ErrNoHeader
		}
	}
	if err != nil {
		return Header{}, nil, err
	}
	return h, b[size:], nil
}

// Append appends the header to b. Version 1 omits Local, TLVs and datagrams; without addresses it is UNKNOWN. Version 2
// is LOCAL without addresses: receivers reject PROXY with none. It gets a new checksum, which replaces one in the TLVs. Its
// length is at most MaxV2: the checksum is left out where it does not fit, and so are TLVs, which then fit only without
// the addresses that they arrived with.
func (h *Header) Append(b []byte) []byte {
	if h.Version == 1 {
		return appendV1(b, h)
	}
	return appendV2(b, h)
}
