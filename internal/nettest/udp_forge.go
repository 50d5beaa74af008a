package nettest

import (
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// SendDatagramFrom sends a datagram with another source address: any one of this host, such as 127.1.2.3. c is bound to
// all IPv4 addresses and gives the port.
func SendDatagramFrom(c *net.UDPConn, from netip.Addr, to netip.AddrPort, data []byte) error {
	source := unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: from.As4()})
	_, _, err := c.WriteMsgUDPAddrPort(data, source, to)
	return err
}
