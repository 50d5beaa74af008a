package checks

import (
	"fmt"
	"net"
	"net/netip"

	"weir/internal/proxy"
)

// proxyHeader is the PROXY protocol header that a check's connection begins with. A check speaks for nobody but itself:
// version 2 says so with LOCAL, which version 1 cannot, so that names the connection's own ends.
func proxyHeader(version string, local, remote net.Addr) ([]byte, error) {
	switch version {
	case "v1":
		from, _ := netip.ParseAddrPort(local.String()) // a unix socket has none
		to, _ := netip.ParseAddrPort(remote.String())
		h := proxy.Header{Version: 1, Source: end(from), Dest: end(to)}
		return h.Append(nil), nil
	case "v2":
		h := proxy.Header{Version: 2, Local: true}
		return h.Append(nil), nil
	}
	return nil, fmt.Errorf("unknown version %q", version)
}

// end is an address as a header can say it: without a zone, and IPv4 as such.
func end(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().WithZone("").Unmap(), a.Port())
}
