package nettest

// PROXY headers of version 2, byte by byte, for tests of those who read them.

import (
	"encoding/binary"
	"hash/crc32"
	"strings"
)

// ProxySignature is how they begin.
const ProxySignature = "\r\n\r\n\x00\r\nQUIT\n"

// ProxyV2 is a header: version and command, family and transport, and what follows the length.
func ProxyV2(command, family byte, parts ...string) string {
	body := strings.Join(parts, "")
	head := append([]byte(ProxySignature), command, family)
	return string(binary.BigEndian.AppendUint16(head, uint16(len(body)))) + body
}

// ProxyTLV is one of the values that a header may end with.
func ProxyTLV(typ byte, value string) string {
	return string(binary.BigEndian.AppendUint16([]byte{typ}, uint16(len(value)))) + value
}

// ProxyWithChecksum puts the checksum into a header whose last value is one of four zero bytes of type 3.
func ProxyWithChecksum(header string) string {
	b := []byte(header)
	binary.BigEndian.PutUint32(b[len(b)-4:], crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	return string(b)
}
