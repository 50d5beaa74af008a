package nettest

import (
	"encoding/binary"
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

// ForgeDatagram sends one IPv4 datagram with any source address and port, also those of another socket. It needs
// CAP_NET_RAW.
func ForgeDatagram(from, to netip.AddrPort, data []byte) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	source, dest := from.Addr().As4(), to.Addr().As4()
	b := make([]byte, 28, 28+len(data)) // the kernel fills in the length and checksum of the IP header
	b[0], b[8], b[9] = 0x45, 64, unix.IPPROTO_UDP
	copy(b[12:], source[:])
	copy(b[16:], dest[:])
	binary.BigEndian.PutUint16(b[20:], from.Port())
	binary.BigEndian.PutUint16(b[22:], to.Port())
	binary.BigEndian.PutUint16(b[24:], uint16(8+len(data)))
	return unix.Sendto(fd, append(b, data...), 0, &unix.SockaddrInet4{Addr: dest})
}
