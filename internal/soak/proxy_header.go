package soak

// The PROXY protocol on both sides of weir: clients behind another proxy, and servers that receive a header from weir.

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
)

var proxySignature = []byte("\r\n\r\n\x00\r\nQUIT\n")

// claimedClient returns the client address in the PROXY header of a session.
func (s *script) claimedClient() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(s.id % 8)}), uint16(1024+s.id%60_000))
}

// proxyHeader returns the PROXY header of a session.
func (s *script) proxyHeader() []byte {
	from, to := s.claimedClient(), netip.MustParseAddrPort("203.0.113.9:80")
	if s.proxy == 1 {
		return fmt.Appendf(nil, "PROXY TCP4 %s %s %d %d\r\n", from.Addr(), to.Addr(), from.Port(), to.Port())
	}
	b := append([]byte(nil), proxySignature...)
	b = append(b, 0x21, 0x11, 0, 12) // version 2, PROXY, TCP over IPv4
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
		return netip.ParseAddrPort(words[2] + ":" + words[4])
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
	case whole[12] != 0x21 || whole[13] != 0x11 || size < 28:
		return from, corruption{fmt.Errorf("invalid PROXY header %q", whole)}
	}
	from = netip.AddrPortFrom(netip.AddrFrom4([4]byte(whole[16:20])), binary.BigEndian.Uint16(whole[24:]))
	_, err = in.Discard(size)
	return from, err
}
