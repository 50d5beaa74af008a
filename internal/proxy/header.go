package proxy

import (
	"errors"
	"net/netip"
)

// Header is what a PROXY header says.
type Header struct {
	Version   uint8 // 1 or 2
	Local     bool  // the proxy speaks for itself, as in a health check (version 2 only)
	Transport Transport
	// The client and what it connected to, where the header names them by IP: both are valid or none is. IPv4-mapped
	// addresses are IPv4.
	Source, Dest netip.AddrPort
	TLVs         []byte // what else it says, type by type (section 2.2), in the bytes that were parsed; version 2 only
}

// Transport is what a connection is made of.
type Transport uint8

// The transports. Unspec is that of a header that does not say.
const (
	Unspec Transport = iota
	Stream
	Datagram
)

// Addresses are the addresses to take for the connection's own; false when those of the socket stand: the proxy speaks for
// itself, or the header does not name a client by IP, or one of another transport.
func (h *Header) Addresses(over Transport) (client, dest netip.AddrPort, ok bool) {
	if h.Local || h.Transport != over || !h.Source.IsValid() {
		return netip.AddrPort{}, netip.AddrPort{}, false
	}
	return h.Source, h.Dest, true
}

// What a header may be wrong with. ErrIncomplete is the one that more bytes may cure.
var (
	ErrIncomplete = errors.New("the header is not complete")
	ErrNoHeader   = errors.New("no PROXY header")
	ErrMalformed  = errors.New("malformed PROXY header")
	ErrTooLong    = errors.New("PROXY header too long")
	ErrChecksum   = errors.New("wrong checksum in the PROXY header")
)

const (
	// MaxV1 is the longest line there can be (section 2.1).
	MaxV1 = 107
	// MaxV2 is the longest header of version 2 that is read: more than any that is in use, certificates included.
	MaxV2 = 4096
)

// Parse reads the header at the start of b and returns its length too. It needs no more bytes than the header has, and
// says so with ErrIncomplete as long as there are fewer and what there is may still become one; MaxV2 bytes always suffice.
func Parse(b []byte) (h Header, size int, err error) {
	if len(b) == 0 {
		return Header{}, 0, ErrIncomplete
	}
	if b[0] == signature[0] {
		return parseV2(b)
	}
	return parseV1(b)
}

// ParseDatagram reads the header that a datagram begins with, which is of version 2 and complete, and returns what
// follows it.
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

// Append writes the header behind b. What Version 1 cannot say (Local, TLVs, datagrams) is left out; without addresses
// the client is unknown. Version 2 gets a fresh checksum, instead of one among the TLVs.
func (h *Header) Append(b []byte) []byte {
	if h.Version == 1 {
		return appendV1(b, h)
	}
	return appendV2(b, h)
}

// MaxEncodedSize is the most that Append writes behind b, for a header with TLVs of so many bytes.
func MaxEncodedSize(tlvs int) int { return max(MaxV1, v2Fixed+addr6Size+tlvs+checksumSize) }
