package engine

import (
	"errors"
	"net"
	"net/netip"

	"weir/conf"
)

// findLoops returns an error if a server leads back to a listener that uses it, by the addresses that names have and by
// those of this host. Load finds what is the same on every host, and l4 what arises later.
func (r *reload) findLoops() error {
	var host map[netip.Addr]bool
	own := func(ip netip.Addr) bool {
		if host == nil {
			host = hostAddresses(r.next.cfg)
		}
		return ip.IsLoopback() || host[ip.WithZone("")]
	}
	return errors.Join(r.next.cfg.ValidateLoops(r.next.addresses.of, own), r.refuseOwnAPI())
}

// hostAddresses returns the addresses of this host, those of the configuration included; none if they cannot be read: l4 drops what circles.
func hostAddresses(cfg *conf.Config) map[netip.Addr]bool {
	list, _ := net.InterfaceAddrs()
	found := make(map[netip.Addr]bool, len(list))
	for _, a := range list {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			found[p.Addr().Unmap()] = true
		}
	}
	for i := range cfg.VIPs { // it has them now or later
		found[cfg.VIPs[i].Address.Addr()] = true
	}
	return found
}
