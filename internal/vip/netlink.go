package vip

// Addresses through netlink (rtnetlink(7)). Package netlink does not know IFA_PROTO, so the messages are built here.

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

const (
	ifaProto = 11   // IFA_PROTO (linux/if_addr.h)
	proto    = 119  // marks addresses of weir; values above 3 are free for any program
	noDAD    = 0x02 // IFA_F_NODAD
	label    = ":weir"
	maxLabel = 15 // IFNAMSIZ less the terminating NUL
)

// address is an address of this host.
type address struct {
	netip.Prefix // not masked
	link         int
	ours         bool // it has the mark of weir
}

// link is a network interface.
type link struct {
	index  int
	up     bool
	silent bool // it resolves no addresses: lo, dummy
}

// dumpTries is how often a listing is repeated that was interrupted by a change.
const dumpTries = 5

// listAddresses returns the addresses of all interfaces.
func listAddresses() (list []address, err error) {
	for range dumpTries {
		req := nl.NewNetlinkRequest(unix.RTM_GETADDR, unix.NLM_F_DUMP)
		req.AddData(nl.NewIfAddrmsg(unix.AF_UNSPEC))
		var messages [][]byte
		messages, err = req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWADDR)
		if errors.Is(err, netlink.ErrDumpInterrupted) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list addresses: %w", err)
		}
		for _, m := range messages {
			if a, ok := parseAddress(m); ok {
				list = append(list, a)
			}
		}
		return list, nil
	}
	return nil, fmt.Errorf("list addresses: %w", err)
}

// parseAddress reads a message of type RTM_NEWADDR.
func parseAddress(m []byte) (a address, ok bool) {
	if len(m) < unix.SizeofIfAddrmsg {
		return a, false
	}
	head := nl.DeserializeIfAddrmsg(m)
	attributes, err := nl.ParseRouteAttr(m[unix.SizeofIfAddrmsg:])
	if err != nil {
		return a, false
	}
	a.link = int(head.Index)
	var local, other netip.Addr // IPv6 has no IFA_LOCAL unless the address has a peer
	for _, at := range attributes {
		switch at.Attr.Type &^ unix.NLA_F_NESTED {
		case unix.IFA_LOCAL:
			local, _ = netip.AddrFromSlice(at.Value)
		case unix.IFA_ADDRESS:
			other, _ = netip.AddrFromSlice(at.Value)
		case unix.IFA_LABEL:
			a.ours = a.ours || strings.HasSuffix(strings.TrimRight(string(at.Value), "\x00"), label)
		case ifaProto:
			a.ours = a.ours || len(at.Value) == 1 && at.Value[0] == proto
		}
	}
	if !local.IsValid() {
		local = other
	}
	a.Prefix = netip.PrefixFrom(local, int(head.Prefixlen))
	return a, a.Prefix.IsValid()
}

// listLinks returns the interfaces by name.
func listLinks() (map[string]link, error) {
	list, err := netlink.LinkList()
	for i := 1; i < dumpTries && errors.Is(err, netlink.ErrDumpInterrupted); i++ {
		list, err = netlink.LinkList()
	}
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	links := make(map[string]link, len(list))
	for _, l := range list {
		at := l.Attrs()
		links[at.Name] = link{at.Index, at.Flags&net.FlagUp != 0, at.RawFlags&(unix.IFF_LOOPBACK|unix.IFF_NOARP) != 0}
	}
	return links, nil
}

// addAddress adds an address with the mark to an interface.
func addAddress(p netip.Prefix, name string, index int) error {
	req := request(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL, p, index)
	req.AddData(nl.NewRtAttr(ifaProto, []byte{proto}))
	if p.Addr().Is4() {
		req.AddData(nl.NewRtAttr(unix.IFA_LABEL, nl.ZeroTerminated(name[:min(len(name), maxLabel-len(label))]+label)))
	}
	return send(req)
}

func removeAddress(p netip.Prefix, index int) error {
	err := send(request(unix.RTM_DELADDR, 0, p, index))
	if errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.ENODEV) { // it has gone meanwhile
		return nil
	}
	return err
}

// request returns a request about an address of an interface. IPv6 addresses are used without duplicate address detection:
// other hosts may have the same one.
func request(kind, flags int, p netip.Prefix, index int) *nl.NetlinkRequest {
	ip := p.Addr().AsSlice()
	req := nl.NewNetlinkRequest(kind, flags|unix.NLM_F_ACK)
	head := nl.NewIfAddrmsg(nl.GetIPFamily(ip))
	head.Index, head.Prefixlen = uint32(index), uint8(p.Bits())
	if p.Addr().Is6() {
		head.Flags = noDAD
	}
	req.AddData(head)
	req.AddData(nl.NewRtAttr(unix.IFA_LOCAL, ip))
	req.AddData(nl.NewRtAttr(unix.IFA_ADDRESS, ip))
	return req
}

func send(req *nl.NetlinkRequest) error {
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return named(err)
}

// named returns an error that names the capability that is missing.
func named(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return errors.New("missing capability CAP_NET_ADMIN")
	}
	return err
}
