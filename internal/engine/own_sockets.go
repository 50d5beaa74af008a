package engine

import (
	"fmt"
	"net/netip"

	"weir/conf"
)

// ownSockets are the addresses at which this process listens. A server that comes from outside the file must not be there:
// its sessions would come from this host, which allow lists and the API without a token trust.
type ownSockets struct {
	names map[netip.AddrPort]string // what listens there
	all   map[uint16]string         // what listens at all addresses of the host, by port
	own   func(netip.Addr) bool     // whether the host has an address
}

// ownSocketsOf returns the addresses of the listeners and of the API of a configuration.
func ownSocketsOf(cfg *conf.Config) *ownSockets {
	host := hostAddresses(cfg)
	o := &ownSockets{
		map[netip.AddrPort]string{}, map[uint16]string{}, func(ip netip.Addr) bool { return ip.IsLoopback() || host[ip] },
	}
	add := func(list []conf.Address, name string) {
		for _, at := range list {
			switch {
			case !at.Addr.IsValid():
			case at.Addr.Addr().IsUnspecified():
				o.all[at.Port] = name
			default:
				o.names[withoutZone(at.Addr)] = name
			}
		}
	}
	for i := range cfg.Listeners {
		add(cfg.Listeners[i].Addresses, "listener "+cfg.Listeners[i].Name)
	}
	add(cfg.Admin.Listen, "the API")
	return o
}

// withoutZone returns an address as ownSockets has it.
func withoutZone(at netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(at.Addr().Unmap().WithZone(""), at.Port())
}

// refuse returns why a server from outside the file must not be at an address, or nil.
func (o *ownSockets) refuse(at netip.AddrPort) error {
	ip := withoutZone(at).Addr()
	if ip.IsUnspecified() || ip.IsMulticast() || ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return fmt.Errorf("%s is not the address of one host", ip)
	}
	return o.refuseOwn(at)
}

// refuseOwn returns why a server must not be at an address at which weir itself listens, or nil.
func (o *ownSockets) refuseOwn(at netip.AddrPort) error {
	at = withoutZone(at)
	ip := at.Addr()
	name, found := o.names[at]
	if !found && o.own(ip) {
		name, found = o.all[at.Port()]
	}
	if found {
		return fmt.Errorf("%s is %s of weir itself", at, name)
	}
	return nil
}

// refuseAny returns why a server from outside the file must not be at one of several addresses, or nil.
func (o *ownSockets) refuseAny(list []netip.AddrPort) error {
	for _, at := range list {
		if err := o.refuse(at); err != nil {
			return err
		}
	}
	return nil
}
