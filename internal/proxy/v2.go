package proxy

// Version 2 (section 2.2): a binary block of a declared length.

import (
	"encoding/binary"
	"hash/crc32"
	"iter"
	"net/netip"

	"github.com/pires/go-proxyproto"
)

const (
	signature = "\r\n\r\n\x00\r\nQUIT\n"
	v2Fixed   = 16 // signature, version and command, family and transport, length

	addr4Size = 12
	addr6Size = 36
	unixSize  = 216
)

// The second byte after the signature.
const (
	familyUnspec = 0x00
	familyTCP4   = 0x11
	familyUDP4   = 0x12
	familyTCP6   = 0x21
	familyUDP6   = 0x22
	familyUnix   = 0x31
	familyUnixgr = 0x32
)

// family returns the length of the addresses and the transport of a family byte, or false if it is undefined.
func family(b byte) (addresses int, over Transport, ok bool) {
	switch b {
	case familyUnspec:
		return 0, Unspec, true
	case familyTCP4:
		return addr4Size, Stream, true
	case familyUDP4:
		return addr4Size, Datagram, true
	case familyTCP6:
		return addr6Size, Stream, true
	case familyUDP6:
		return addr6Size, Datagram, true
	case familyUnix:
		return unixSize, Stream, true
	case familyUnixgr:
		return unixSize, Datagram, true
	}
	return 0, Unspec, false
}

// Need returns how many bytes a header has whose beginning is b, if that is known: version 2 says so. 0 = not known.
func Need(b []byte) int {
	if len(b) < v2Fixed || string(b[:len(signature)]) != signature {
		return 0
	}
	return v2Fixed + int(binary.BigEndian.Uint16(b[14:]))
}

func parseV2(b []byte) (h Header, size int, err error) {
	for i := 0; i < len(signature) && i < len(b); i++ {
		if b[i] != signature[i] {
			return Header{}, 0, ErrNoHeader
		}
	}
	if len(b) > 12 && b[12] != 0x20 && b[12] != 0x21 {
		return Header{}, 0, ErrMalformed
	}
	if len(b) < 14 {
		return Header{}, 0, ErrIncomplete
	}
	addresses, over, ok := family(b[13])
	if !ok {
		return Header{}, 0, ErrMalformed
	}
	if len(b) < v2Fixed {
		return Header{}, 0, ErrIncomplete
	}
	length := int(binary.BigEndian.Uint16(b[14:]))
	h = Header{Version: 2, Local: b[12] == 0x20, Transport: over}
	switch size = v2Fixed + length; {
	case size > MaxV2:
		return Header{}, 0, ErrTooLong
	case length < addresses && !h.Local:
		return Header{}, 0, ErrMalformed
	case len(b) < size:
		return Header{}, 0, ErrIncomplete
	}
	block := b[v2Fixed:size]
	if length < addresses { // LOCAL: the contents are ignored
		return Header{Version: 2, Local: true}, size, nil
	}
	switch addresses {
	case addr4Size:
		h.Source = netip.AddrPortFrom(netip.AddrFrom4([4]byte(block)), binary.BigEndian.Uint16(block[8:]))
		h.Dest = netip.AddrPortFrom(netip.AddrFrom4([4]byte(block[4:])), binary.BigEndian.Uint16(block[10:]))
	case addr6Size:
		h.Source = netip.AddrPortFrom(netip.AddrFrom16([16]byte(block)).Unmap(), binary.BigEndian.Uint16(block[32:]))
		h.Dest = netip.AddrPortFrom(netip.AddrFrom16([16]byte(block[16:])).Unmap(), binary.BigEndian.Uint16(block[34:]))
	}
	switch sum, ok := checkTLVs(block[addresses:]); {
	case !ok && (h.Local || over == Unspec):
		return h, size, nil // "must discard the protocol block": it need not contain TLVs
	case !ok:
		return Header{}, 0, ErrMalformed
	case sum >= 0 && !summed(b[:size], v2Fixed+addresses+sum):
		return Header{}, 0, ErrChecksum
	}
	h.TLVs = block[addresses:]
	return h, size, nil
}

const (
	typeChecksum = byte(proxyproto.PP2_TYPE_CRC32C) // sections 2.2 and 2.2.3
	tlvHead      = 3                                // type and length
	checksumSize = tlvHead + 4
)

// checkTLVs reports whether b consists of whole TLVs with at most one checksum, and returns the index of the checksum's
// value, or -1 if there is none.
func checkTLVs(b []byte) (sum int, ok bool) {
	sum = -1
	for at := 0; at < len(b); {
		if len(b)-at < tlvHead {
			return -1, false
		}
		length := int(binary.BigEndian.Uint16(b[at+1:]))
		value := at + tlvHead
		if length > len(b)-value {
			return -1, false
		}
		if b[at] == typeChecksum {
			if length != 4 || sum >= 0 {
				return -1, false
			}
			sum = value
		}
		at = value + length
	}
	return sum, true
}

// TLV returns the value of the first TLV of a type, or false if there is none.
func (h *Header) TLV(typ byte) (value []byte, ok bool) {
	for t, value := range EachTLV(h.TLVs) {
		if t == typ {
			return value, true
		}
	}
	return nil, false
}

// EachTLV iterates over the types and values of TLVs, up to the first that is incomplete.
func EachTLV(b []byte) iter.Seq2[byte, []byte] {
	return func(yield func(byte, []byte) bool) {
		for len(b) >= tlvHead {
			end := tlvHead + int(binary.BigEndian.Uint16(b[1:]))
			if end > len(b) || !yield(b[0], b[tlvHead:end]) {
				return
			}
			b = b[end:]
		}
	}
}

// The CRC32c table, and the value that replaces the checksum while it is computed (section 2.2.3).
var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	zeros      [4]byte
)

// summed reports whether the checksum at the given index is correct.
func summed(header []byte, at int) bool {
	sum := crc32.Update(0, castagnoli, header[:at])
	sum = crc32.Update(sum, castagnoli, zeros[:])
	sum = crc32.Update(sum, castagnoli, header[at+4:])
	return binary.BigEndian.Uint32(header[at:]) == sum
}

func appendV2(b []byte, h *Header) []byte {
	start := len(b)
	b = append(b, signature...)
	source, dest := h.Source.Addr(), h.Dest.Addr()
	named := source.IsValid() && dest.IsValid()
	command := byte(0x21)
	if h.Local || !named {
		command = 0x20
	}
	kind := byte(familyUnspec)
	switch four := source.Is4() && dest.Is4(); {
	case !named:
	case four && h.Transport == Datagram:
		kind = familyUDP4
	case four:
		kind = familyTCP4
	case h.Transport == Datagram:
		kind = familyUDP6
	default:
		kind = familyTCP6
	}
	b = append(b, command, kind, 0, 0)
	switch {
	case kind == familyTCP4 || kind == familyUDP4:
		from, to := source.As4(), dest.As4()
		b = append(append(b, from[:]...), to[:]...)
	case named:
		from, to := source.As16(), dest.As16()
		b = append(append(b, from[:]...), to[:]...)
	}
	if named {
		b = binary.BigEndian.AppendUint16(b, h.Source.Port())
		b = binary.BigEndian.AppendUint16(b, h.Dest.Port())
	}
	b = appendTLVs(b, h.TLVs, h.Pass, start+MaxV2)
	sum := len(b)+checksumSize <= start+MaxV2
	if sum {
		b = append(b, typeChecksum, 0, 4, 0, 0, 0, 0)
	}
	binary.BigEndian.PutUint16(b[start+14:], uint16(len(b)-start-v2Fixed))
	if sum {
		binary.BigEndian.PutUint32(b[len(b)-4:], crc32.Checksum(b[start:], castagnoli))
	}
	return b
}

// appendTLVs appends the TLVs of the types in pass except a checksum, as long as the result has at most max bytes.
func appendTLVs(b, tlvs []byte, pass *TypeSet, max int) []byte {
	for len(tlvs) >= tlvHead {
		end := tlvHead + int(binary.BigEndian.Uint16(tlvs[1:]))
		if end > len(tlvs) {
			break
		}
		if tlvs[0] != typeChecksum && pass.Has(tlvs[0]) && len(b)+end <= max {
			b = append(b, tlvs[:end]...)
		}
		tlvs = tlvs[end:]
	}
	return b
}
