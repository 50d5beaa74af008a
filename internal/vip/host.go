package vip

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// Address is an address that the configuration has.
type Address struct {
	Prefix    netip.Prefix // not masked; unique by its address
	Interface string
	Up        bool // the interface must have it; else no interface of this host may
}

// Result is what became of an Address.
type Result struct {
	Up      bool  // the interface has it
	Locked  bool  // this process may change it; else another one has it
	Added   bool  // by this call
	Removed bool  // by this call
	Problem error // why it is not as it must be, or what keeps it from serving; nil = none
}

// Host makes the interfaces of this host have the wanted addresses. Its methods must not be called concurrently. The calls are
// system calls that may wait for other changes of the network configuration.
type Host struct {
	locks map[netip.Addr]io.Closer
}

// NewHost returns a Host without addresses.
func NewHost() *Host { return &Host{locks: map[netip.Addr]io.Closer{}} }

// lock locks an address for this process. It returns errInUse if another one has it.
func (h *Host) lock(ip netip.Addr) error {
	if h.locks[ip] != nil {
		return nil
	}
	l, err := lockAddress(ip)
	if err == nil {
		h.locks[ip] = l
	}
	return err
}

func (h *Host) unlock(ip netip.Addr) {
	if l := h.locks[ip]; l != nil {
		l.Close()
		delete(h.locks, ip)
	}
}

var errInUse = errors.New("another weir on this host has the address")

func lockAddress(ip netip.Addr) (io.Closer, error) {
	l, err := net.Listen("unix", "@weir/vip/"+ip.String())
	if errors.Is(err, unix.EADDRINUSE) {
		err = errInUse
	}
	return l, err
}

// Marked returns the wanted addresses that this host has already with the mark of weir, on any interface.
func Marked(wanted []Address) (map[netip.Addr]bool, error) {
	there, err := listAddresses()
	found := map[netip.Addr]bool{}
	for _, a := range there {
		if a.ours && slices.ContainsFunc(wanted, func(w Address) bool { return w.Prefix.Addr() == a.Addr() }) {
			found[a.Addr()] = true
		}
	}
	return found, err
}

// found is what this host has at one moment.
type found struct {
	links     map[string]link
	addresses []address
	routes    map[netip.Addr]bool // addresses that are reachable without an interface
}

func look() (f found, err error) {
	if f.links, err = listLinks(); err == nil {
		f.addresses, err = listAddresses()
	}
	if err == nil {
		f.routes, err = listLocalRoutes()
	}
	return f, err
}

// of returns the instances of an address that have the mark of weir, and the interface of another one or "".
func (f *found) of(ip netip.Addr) (ours []address, foreign string) {
	for _, a := range f.addresses {
		switch {
		case a.Addr() != ip:
		case a.ours:
			ours = append(ours, a)
		case foreign == "":
			foreign = interfaceName(f.links, a.link)
		}
	}
	return ours, foreign
}

// marked returns all addresses with the mark of weir, those of routes included.
func (f *found) marked() map[netip.Addr]bool {
	all := maps.Clone(f.routes)
	for _, a := range f.addresses {
		if a.ours {
			all[a.Addr()] = true
		}
	}
	return all
}

// remove removes everything with the mark of weir that this host has of an address.
func (f *found) remove(ip netip.Addr) error {
	var errs []error
	ours, _ := f.of(ip)
	for _, a := range ours {
		errs = append(errs, removeAddress(a.Prefix, a.link))
	}
	if f.routes[ip] {
		errs = append(errs, removeLocalRoute(ip, f.links))
	}
	return errors.Join(errs...)
}

// Apply adds and removes addresses so that this host has the wanted ones that are up. It removes marked addresses that are not in
// wanted: those of an earlier call, and those that a killed process has left behind. A result is returned for each address of
// wanted, in order.
func (h *Host) Apply(wanted []Address) ([]Result, error) {
	there, err := look()
	if err != nil {
		return nil, err
	}
	results, named := make([]Result, len(wanted)), map[netip.Addr]bool{}
	for i := range wanted {
		named[wanted[i].Prefix.Addr()] = true
		results[i] = h.apply(&wanted[i], &there)
	}
	for ip := range there.marked() {
		if !named[ip] && h.lock(ip) == nil {
			_ = there.remove(ip) // the next call tries again
		}
	}
	for ip := range maps.Clone(h.locks) {
		if !named[ip] {
			h.unlock(ip)
		}
	}
	return results, nil
}

// apply does it for one address.
func (h *Host) apply(w *Address, there *found) (r Result) {
	ip := w.Prefix.Addr()
	to, exists := there.links[w.Interface]
	ours, foreign := there.of(ip)
	right := func(a address) bool { return w.Up && exists && a.link == to.index && a.Prefix == w.Prefix }
	r.Up = slices.ContainsFunc(ours, right)
	if err := h.lock(ip); err != nil {
		if !r.Up { // else the old process of an upgrade has it, for a moment
			r.Problem = err
		}
		return r
	}
	r.Locked = true
	if !w.Up && len(ours) > 0 && exists && to.silent && w.Prefix.IsSingleIP() {
		if err := addLocalRoute(ip, there.links); err != nil {
			r.Problem = fmt.Errorf("cannot add local route: %w", err)
		}
	}
	remove := func(here bool) { // those on the interface, or those elsewhere
		for _, a := range ours {
			if right(a) || here != (exists && a.link == to.index) {
				continue
			}
			if err := removeAddress(a.Prefix, a.link); err != nil {
				r.Problem = fmt.Errorf("cannot remove from %s: %w", interfaceName(there.links, a.link), err)
			} else {
				r.Removed = !w.Up
			}
		}
	}
	// One interface has an IPv6 address only once: the old one goes first. On another interface it goes last, so that this host
	// always has the address.
	remove(true)
	switch {
	case !w.Up || r.Up || foreign != "":
	case !exists:
		r.Problem = fmt.Errorf("no interface %s", w.Interface)
	default:
		if err := addAddress(w.Prefix, w.Interface, to.index); err != nil {
			r.Problem = fmt.Errorf("cannot add to %s: %w", w.Interface, err)
		} else {
			r.Up, r.Added = true, true
		}
	}
	remove(false)
	if r.Up && there.routes[ip] {
		_ = removeLocalRoute(ip, there.links) // the next call tries again
	}
	switch {
	case r.Problem != nil:
	case foreign != "":
		r.Problem = fmt.Errorf("%s has the address already, and not from weir: weir leaves it there", foreign)
	case r.Up && !to.up:
		r.Problem = fmt.Errorf("interface %s is down", w.Interface)
	}
	return r
}

func interfaceName(links map[string]link, index int) string {
	for name, l := range links {
		if l.index == index {
			return name
		}
	}
	return fmt.Sprintf("interface %d", index)
}

// Release gives up all addresses and leaves them where they are: the new process of an upgrade has them now.
func (h *Host) Release() {
	for ip := range maps.Clone(h.locks) {
		h.unlock(ip)
	}
}

// Close removes all addresses of this process and gives them up.
func (h *Host) Close() {
	if len(h.locks) == 0 {
		return
	}
	there, err := look()
	for ip := range maps.Clone(h.locks) {
		if err == nil {
			_ = there.remove(ip)
		}
		h.unlock(ip)
	}
}

// Left is an address with the mark of weir.
type Left struct {
	Address   netip.Addr
	Interface string // "" = it is only reachable
	InUse     bool   // a running weir has it; it was not removed
	Err       error  // it could not be removed; nil = it was
}

// Clean removes the addresses that weir has left behind on this host: those with its mark that no running weir has. on names
// interfaces; empty = all.
func Clean(on []string) ([]Left, error) {
	there, err := look()
	if err != nil {
		return nil, err
	}
	var list []Left
	for _, ip := range slices.SortedFunc(maps.Keys(there.marked()), netip.Addr.Compare) {
		left := Left{Address: ip}
		if ours, _ := there.of(ip); len(ours) > 0 {
			left.Interface = interfaceName(there.links, ours[0].link)
		}
		if len(on) > 0 && left.Interface != "" && !slices.Contains(on, left.Interface) {
			continue
		}
		if l, err := lockAddress(ip); err != nil {
			left.InUse = true
		} else {
			left.Err = there.remove(ip)
			l.Close()
		}
		list = append(list, left)
	}
	return list, nil
}
