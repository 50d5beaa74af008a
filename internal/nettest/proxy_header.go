package nettest

// PROXY headers of version 2, byte by byte, for tests of parsers.

import (
	"encoding/binary"
	"hash/crc32"
	"strings"
)

// ProxySignature is the beginning of a header.
const ProxySignature = "\r\n\r\n\x00\r\nQUIT\n"

// ProxyV2 returns a header: version and command, family and transport, length, and parts.
func ProxyV2(command, family byte, parts ...string) string {
	body := strings.Join(parts, "")
	head := append([]byte(ProxySignature), command, family)
	return string(binary.BigEndian.AppendUint16(head, uint16(len(body)))) + body
}

// ProxyTLV returns one TLV.
func ProxyTLV(typ byte, value string) string {
	return string(binary.BigEndian.AppendUint16([]byte{typ}, uint16(len(value)))) + value
}

// ProxyWithChecksum sets the checksum of a header whose last TLV has type 3 and four zero bytes.
func ProxyWithChecksum(header string) string {
	b := []byte(header)
	binary.BigEndian.PutUint32(b[len(b)-4:], crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	return string(b)
}
