// Package vip keeps addresses on the interfaces of this host while weir can serve at them. A routing daemon announces what an
// interface has.
//
// A Gate decides when an address is wanted; it is pure. A Host makes the interfaces have the wanted addresses, through netlink.
//
// weir marks its addresses: with the protocol 119 (IFA_PROTO, Linux 5.18) and, as IPv4 addresses have labels, with the label
// INTERFACE:weir. Addresses without a mark belong to other programs and are never changed.
//
// An address that is removed from lo, or from another interface that resolves no addresses, stays reachable on this host: a route in
// the table local, with the protocol and the metric 119, delivers what still arrives. No routing daemon announces it. So sessions
// continue, and clients that come before the routers have noticed are served.
//
// A process holds a lock on each of its addresses: an abstract unix socket, which ends with the process and is visible exactly
// where the addresses are: in the network namespace. A marked address without a lock was left behind by a process that was
// killed.
package vip
