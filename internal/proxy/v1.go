package proxy

// Version 1 (section 2.1): a line of text.

import (
	"net/netip"
	"strconv"
)

// cursor reads a line from left to right and stops at the first invalid byte, so that invalid input is rejected without
// waiting for the end of the line.
type cursor struct {
	b   []byte
	at  int
	err error // ErrIncomplete, or the reason of the rejection
}

// literal expects the text.
func (c *cursor) literal(text string, otherwise error) {
	for i := 0; i < len(text) && c.err == nil; i++ {
		switch {
		case c.at == len(c.b):
			c.err = ErrIncomplete
		case c.b[c.at] != text[i]:
			c.err = otherwise
		default:
			c.at++
		}
	}
}

// token reads 1 to most bytes that legal accepts, and the byte end after them.
func (c *cursor) token(end byte, most int, legal func(byte) bool) []byte {
	if c.err != nil {
		return nil
	}
	for i, v := range c.b[c.at:] {
		switch {
		case v == end && i > 0:
			word := c.b[c.at : c.at+i]
			c.at += i + 1
			return word
		case i == most || !legal(v):
			c.err = ErrMalformed
			return nil
		}
	}
	c.err = ErrIncomplete
	return nil
}

func parseV1(b []byte) (h Header, size int, err error) {
	line := b
	if len(line) > MaxV1 {
		line = line[:MaxV1]
	}
	c := cursor{b: line}
	h.Version = 1
	c.literal("PROXY ", ErrNoHeader)
	switch {
	case c.err != nil:
	case c.at == len(line):
		c.err = ErrIncomplete
	case line[c.at] == 'U':
		c.unknown()
	default:
		c.tcp(&h)
	}
	switch {
	case c.err == nil:
		return h, c.at, nil
	case c.err == ErrIncomplete && len(b) >= MaxV1:
		return Header{}, 0, ErrTooLong
	}
	return Header{}, 0, c.err
}

// unknown reads the rest of an UNKNOWN line and ignores its contents.
func (c *cursor) unknown() {
	c.literal("UNKNOWN", ErrMalformed)
	if c.err != nil || c.at == len(c.b) {
		c.short()
		return
	}
	if v := c.b[c.at]; v != ' ' && v != '\r' {
		c.err = ErrMalformed
		return
	}
	for ; c.at < len(c.b); c.at++ {
		if v := c.b[c.at]; v == '\r' || v == '\n' {
			c.literal("\r\n", ErrMalformed)
			return
		}
	}
	c.err = ErrIncomplete
}

func (c *cursor) short() {
	if c.err == nil {
		c.err = ErrIncomplete
	}
}

func (c *cursor) tcp(h *Header) {
	c.literal("TCP", ErrMalformed)
	if c.err != nil || c.at == len(c.b) {
		c.short()
		return
	}
	six := c.b[c.at] == '6'
	if six {
		c.literal("6 ", ErrMalformed)
	} else {
		c.literal("4 ", ErrMalformed)
	}
	source, dest := c.address(six), c.address(six)
	h.Source = netip.AddrPortFrom(source, c.port(' '))
	h.Dest = netip.AddrPortFrom(dest, c.port('\r'))
	h.Transport = Stream
	c.literal("\n", ErrMalformed)
}

func (c *cursor) address(six bool) netip.Addr {
	if six {
		if word := c.token(' ', maxText6, isAddr6); c.err == nil {
			if ip, ok := parse6(word); ok {
				return netip.AddrFrom16(ip).Unmap()
			}
			c.err = ErrMalformed
		}
		return netip.Addr{}
	}
	if word := c.token(' ', len("255.255.255.255"), isAddr4); c.err == nil {
		if ip, ok := parse4(word); ok {
			return netip.AddrFrom4(ip)
		}
		c.err = ErrMalformed
	}
	return netip.Addr{}
}

func (c *cursor) port(end byte) uint16 {
	word := c.token(end, len("65535"), isDigit)
	if c.err != nil {
		return 0
	}
	n, ok := decimal(word, 65535)
	if !ok {
		c.err = ErrMalformed
	}
	return uint16(n)
}

// appendV1 appends a version 1 line. Addresses of two different families are written as IPv6.
func appendV1(b []byte, h *Header) []byte {
	source, dest := h.Source.Addr(), h.Dest.Addr()
	if !source.IsValid() || !dest.IsValid() {
		return append(b, "PROXY UNKNOWN\r\n"...)
	}
	if source.Is4() && dest.Is4() {
		b = append(b, "PROXY TCP4 "...)
	} else {
		b = append(b, "PROXY TCP6 "...)
		source, dest = netip.AddrFrom16(source.As16()), netip.AddrFrom16(dest.As16())
	}
	b = append(source.AppendTo(b), ' ')
	b = append(dest.AppendTo(b), ' ')
	b = append(strconv.AppendUint(b, uint64(h.Source.Port()), 10), ' ')
	b = strconv.AppendUint(b, uint64(h.Dest.Port()), 10)
	return append(b, '\r', '\n')
}
