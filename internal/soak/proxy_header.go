package soak

// The PROXY protocol on both sides of weir: clients behind another proxy, and servers that receive a header from weir.

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strings"
)

var proxySignature = []byte("\r\n\r\n\x00\r\nQUIT\n")

// claimedClient returns the client address in the PROXY header of a session.
func (s *script) claimedClient() netip.AddrPort {
	port := uint16(1024 + s.id%60_000)
	if s.id%5 == 0 { // some in one /64, some in one /48
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 7: byte(s.id / 5 % 3), 15: byte(1 + s.id/5%8)}), port)
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(s.id % 8)}), port)
}

// proxyHeader returns the PROXY header of a session.
func (s *script) proxyHeader() []byte {
	from, to := s.claimedClient(), netip.MustParseAddrPort("203.0.113.9:80")
	family, size := byte(1), byte(12)
	if from.Addr().Is6() {
		to = netip.MustParseAddrPort("[2001:db8:9::9]:80")
		family, size = 2, 36
	}
	if s.proxy == 1 {
		return fmt.Appendf(nil, "PROXY TCP%c %s %s %d %d\r\n", "46"[family-1], from.Addr(), to.Addr(), from.Port(), to.Port())
	}
	b := append([]byte(nil), proxySignature...)
	b = append(b, 0x21, family<<4|1, 0, size) // version 2, PROXY, TCP
	b = append(b, from.Addr().AsSlice()...)
	b = append(b, to.Addr().AsSlice()...)
	b = binary.BigEndian.AppendUint16(b, from.Port())
	return binary.BigEndian.AppendUint16(b, to.Port())
}

// readProxy reads the PROXY header of a connection, if there is one, and returns the client in it. It consumes nothing
// else.
func readProxy(in *bufio.Reader) (from netip.AddrPort, err error) {
	start, err := in.Peek(12)
	switch {
	case err != nil:
		return from, err
	case bytes.HasPrefix(start, []byte("PROXY ")):
		line, err := in.ReadString('\n')
		if err != nil {
			return from, err
		}
		words := strings.Fields(line)
		if len(words) != 6 {
			return from, corruption{fmt.Errorf("invalid PROXY header %q", line)}
		}
		return netip.ParseAddrPort(net.JoinHostPort(words[2], words[4]))
	case !bytes.Equal(start, proxySignature):
		return from, nil
	}
	head, err := in.Peek(16)
	if err != nil {
		return from, err
	}
	size := 16 + int(binary.BigEndian.Uint16(head[14:]))
	whole, err := in.Peek(size)
	if err != nil {
		return from, err
	}
	switch {
	case whole[12] == 0x20: // LOCAL: a check of weir
		_, err = in.Discard(size)
		return from, err
	case whole[12] == 0x21 && whole[13] == 0x11 && size >= 28:
		from = netip.AddrPortFrom(netip.AddrFrom4([4]byte(whole[16:20])), binary.BigEndian.Uint16(whole[24:]))
	case whole[12] == 0x21 && whole[13] == 0x21 && size >= 52:
		from = netip.AddrPortFrom(netip.AddrFrom16([16]byte(whole[16:32])), binary.BigEndian.Uint16(whole[48:]))
	default:
		return from, corruption{fmt.Errorf("invalid PROXY header %q", whole)}
	}
	_, err = in.Discard(size)
	return from, err
}
