// Package netwatch tells of changes of this host's network (rtnetlink(7)).
package netwatch

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Addresses calls changed after each change of interfaces and addresses of this host, until stop is called, which waits for its end.
// changed must not block.
func Addresses(changed func()) (stop func(), err error) {
	return watch(changed, unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR)
}

// Routes is Addresses, and calls changed after each change of routes and rules too.
func Routes(changed func()) (stop func(), err error) {
	return watch(changed, unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
		unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV6_RULE)
}

func watch(changed func(), groups ...uint) (stop func(), err error) {
	s, err := nl.Subscribe(unix.NETLINK_ROUTE, groups...)
	if err != nil {
		return nil, fmt.Errorf("watch the network: %w", err)
	}
	done := make(chan struct{})
	go func() { // ends with stop
		defer close(done)
		for {
			_, _, err := s.Receive()
			if err != nil && !errors.Is(err, unix.ENOBUFS) { // changes were lost: it is enough to know that there were some
				return
			}
			changed()
		}
	}()
	return func() { s.Close(); <-done }, nil
}
