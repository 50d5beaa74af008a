package checks

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"net"
	"net/netip"
)

// proxyHeader is the PROXY protocol header that a check's connection begins with. A check speaks for nobody but itself:
// version 2 says so with LOCAL, which version 1 cannot, so that names the connection's own ends.
//
// Source: "The PROXY protocol", sections 2.1, 2.2 and 2.2.3 (the checksum).
func proxyHeader(version string, local, remote net.Addr) ([]byte, error) {
	switch version {
	case "v1":
		from, errFrom := netip.ParseAddrPort(local.String())
		to, errTo := netip.ParseAddrPort(remote.String())
		if errFrom != nil || errTo != nil {
			return []byte("PROXY UNKNOWN\r\n"), nil
		}
		family := "TCP4"
		if to.Addr().Is6() {
			family = "TCP6"
		}
		return fmt.Appendf(nil, "PROXY %s %s %s %d %d\r\n", family, from.Addr().WithZone(""), to.Addr().WithZone(""), from.Port(), to.Port()), nil
	case "v2":
		header := []byte("\r\n\r\n\x00\r\nQUIT\n" +
			"\x20" + // version 2, command LOCAL
			"\x00" + // no addresses
			"\x00\x07" + // seven bytes follow
			"\x03\x00\x04" + // a checksum of four bytes
			"\x00\x00\x00\x00")
		sum := header[len(header)-4:]
		binary.BigEndian.PutUint32(sum, crc32.Checksum(header, crc32.MakeTable(crc32.Castagnoli)))
		return header, nil
	}
	return nil, fmt.Errorf("unknown version %q", version)
}
