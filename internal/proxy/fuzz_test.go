package proxy

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"

	"github.com/pires/go-proxyproto"
)

func FuzzV1(f *testing.F) {
	for _, s := range []string{
		"PROXY TCP4 192.0.2.1 192.0.2.2 1234 5678\r\nhello", "PROXY TCP6 2001:db8::1 ::ffff:1.2.3.4 0 65535\r\n",
		"PROXY UNKNOWN\r\n", "PROXY UNKNOWN any junk\r\n", "PROXY TCP4 1.2.3.4 1.2.3.4 00 1\n", "PROXY ", "GET / HTTP/1.0\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		compare(t, b)
		compare(t, append([]byte("PROXY "), b...))
		compare(t, append([]byte("PROXY TCP6 "), b...))
	})
}

func FuzzV2(f *testing.F) {
	for _, b := range [][]byte{
		frame(0x21, 0x11, block4, tlv(2, "example.com")), frame(0x21, 0x21, block6), frame(0x20, 0), frame(0x20, 0x11), frame(0x21, 0, []byte("abcd")),
		frame(0x21, 0x31, unix, tlv(4, "")), []byte(withChecksum(frame(0x21, 0x12, block4, tlv(3, "----")))), []byte(signature + "\x21\x11\xff\xff"),
	} {
		f.Add(b)
		f.Add(b[len(signature):])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		compare(t, b)
		compare(t, append([]byte(signature), b...))
		compare(t, frame(0x21, 0x11, append(bytes.Clone(block4), b[:min(len(b), 60000)]...)))
	})
}

const tlvPadding = 0x04

// FuzzTLVs parses the same TLVs with both implementations, and writes them again.
func FuzzTLVs(f *testing.F) {
	f.Add(bytes.Join([][]byte{tlv(1, "h2"), tlv(2, "example.com"), tlv(0xea, "\x01vpce-1"), tlv(4, "\x00\x00")}, nil))
	f.Add(tlv(3, "abcd"))
	f.Add(append(tlv(0x20, "\x01\x00\x00\x00\x00\x21\x00\x07TLSv1.3"), 2))
	f.Fuzz(func(t *testing.T, b []byte) {
		sum, ok := checkTLVs(b)
		list, err := proxyproto.SplitTLVs(b)
		if ok != (err == nil) && !(!ok && sumsOf(b) != "") {
			t.Fatalf("%q: here %v, there %v", b, ok, err)
		}
		if !ok {
			return
		}
		h := Header{TLVs: b}
		seen := map[byte]bool{} // padding has no value there
		var kept []byte
		for _, one := range list {
			if got, ok := h.TLV(byte(one.Type)); one.Type != proxyproto.PP2_TYPE_NOOP && !seen[byte(one.Type)] && (!ok || !bytes.Equal(got, one.Value)) {
				t.Fatalf("%q: type %#x: here %q, there %q", b, one.Type, got, one.Value)
			}
			seen[byte(one.Type)] = true
			if one.Type != proxyproto.PP2_TYPE_CRC32C {
				kept = append(binary.BigEndian.AppendUint16(append(kept, byte(one.Type)), uint16(len(one.Value))), one.Value...)
			}
		}
		if seen[typeChecksum] != (sum >= 0) {
			t.Fatalf("%q: checksum at %d", b, sum)
		}
		if got := appendTLVs(nil, b, nil, len(b)); !seen[tlvPadding] && !bytes.Equal(got, kept) {
			t.Fatalf("%q: written as %q", b, got)
		}
	})
}

func FuzzDatagram(f *testing.F) {
	f.Add(frame(0x21, 0x12, block4, tlv(2, "example.com")), []byte("payload"))
	f.Add(frame(0x21, 0x22, block6), []byte(""))
	f.Add(frame(0x20, 0), []byte{0})
	f.Add([]byte("PROXY UNKNOWN\r\n"), []byte("x"))
	f.Fuzz(func(t *testing.T, head, payload []byte) {
		b := append(bytes.Clone(head), payload...)
		h, rest, err := ParseDatagram(b)
		o, theirs, e := proxyproto.ParseUDPDatagram(b)
		if (err == nil) != (e == nil) {
			whole, _, parsed := Parse(b)
			switch {
			case err == ErrNoHeader && bytes.HasPrefix(b, []byte("PROXY")): // it accepts version 1 too
			case err == nil && o == nil && (h.Transport != Datagram || h.Local || !h.Source.IsValid()): // it requires a datagram family
			case err != nil && errors.Is(parsed, err) && explainDifference(b, err, e) != "":
			case err != nil && e == nil && (err == ErrMalformed || err == ErrChecksum || err == ErrTooLong): // TLVs and limits
			default:
				t.Fatalf("%q: here %v (%+v), there %v", b, err, whole, e)
			}
			return
		}
		if err == nil && !bytes.Equal(rest, theirs) {
			t.Fatalf("%q: payload here %q, there %q", b, rest, theirs)
		}
		if err != nil {
			return
		}
		out, n, err := ParseDatagram(append(h.Append(nil), payload...))
		if err == ErrTooLong {
			return
		}
		if err != nil || !bytes.Equal(n, payload) || out.Source != h.Source {
			t.Fatalf("%q: written and read again: %+v %q %v", b, out, n, err)
		}
	})
}

// FuzzAddress parses addresses like netip, except for zones.
func FuzzAddress(f *testing.F) {
	for _, s := range []string{"::", "::1", "1::", "1:2:3:4:5:6:7::", "::ffff:1.2.3.4", "1:2:3:4:5:6:1.2.3.4", "fe80::1%eth0", "1.2.3.4", "01.2.3.4", "256.1.1.1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if len(s) > maxText6 {
			return
		}
		want, err := netip.ParseAddr(s)
		six, ok6 := parse6([]byte(s))
		four, ok4 := parse4([]byte(s))
		if is6 := err == nil && want.Is6() && want.Zone() == ""; is6 != ok6 || is6 && six != want.As16() {
			t.Fatalf("%q: here %v %v, there %v %v", s, six, ok6, want, err)
		}
		if is4 := err == nil && want.Is4(); is4 != ok4 || is4 && four != want.As4() {
			t.Fatalf("%q: here %v %v, there %v %v", s, four, ok4, want, err)
		}
	})
}
