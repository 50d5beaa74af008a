package checks

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"net"

	"github.com/pires/go-proxyproto"
)

// proxyHeader returns the PROXY protocol header that precedes a check. A check is not sent for a client: version 2 says
// so with LOCAL and a checksum. Version 1 has no LOCAL, so it names the addresses of the connection itself, or UNKNOWN
// for a unix socket.
func proxyHeader(version string, local, remote net.Addr) ([]byte, error) {
	switch version {
	case "v1":
		return proxyproto.HeaderProxyFromAddrs(1, local, remote).Format()
	case "v2":
		h := proxyproto.Header{Version: 2, Command: proxyproto.LOCAL, TransportProtocol: proxyproto.UNSPEC}
		checksum := proxyproto.TLV{Type: proxyproto.PP2_TYPE_CRC32C, Value: make([]byte, 4)}
		if err := h.SetTLVs([]proxyproto.TLV{checksum}); err != nil {
			return nil, err
		}
		b, err := h.Format()
		if err != nil {
			return nil, err
		}
		// The checksum is computed with its own four bytes zero (section 2.2.3); they are the last ones.
		binary.BigEndian.PutUint32(b[len(b)-4:], crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
		return b, nil
	}
	return nil, fmt.Errorf("unknown version %q", version)
}
