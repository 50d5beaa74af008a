package proxy

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/pires/go-proxyproto"
	"github.com/stretchr/testify/require"
)

func addrPort(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func TestV1(t *testing.T) {
	full := "2001:0db8:1111:2222:3333:4444:5555:6666"
	longest4 := "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n"
	longest6 := "PROXY TCP6 " + full + " " + full + " 65535 65535\r\n"
	require.Len(t, longest4, 56)
	require.Len(t, longest6, 104)
	for line, want := range map[string][2]string{
		"PROXY TCP4 192.0.2.1 192.0.2.2 1234 5678\r\n":              {"192.0.2.1:1234", "192.0.2.2:5678"},
		"PROXY TCP4 0.0.0.0 1.2.3.4 0 65535\r\n":                    {"0.0.0.0:0", "1.2.3.4:65535"},
		longest4:                                                    {"255.255.255.255:65535", "255.255.255.255:65535"},
		longest6:                                                    {"[" + full + "]:65535", "[" + full + "]:65535"},
		"PROXY TCP6 2001:db8::1 :: 1 2\r\n":                         {"[2001:db8::1]:1", "[::]:2"},
		"PROXY TCP6 1:2:3:4:5:6:7:: ::2:3:4:5:6:7:8 1 2\r\n":        {"[1:2:3:4:5:6:7:0]:1", "[0:2:3:4:5:6:7:8]:2"},
		"PROXY TCP6 ABCD::ef 1::0001 1 2\r\n":                       {"[abcd::ef]:1", "[1::1]:2"},
		"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:c000:202 1 2\r\n":       {"192.0.2.1:1", "192.0.2.2:2"},
		"PROXY TCP6 1:2:3:4:5:6:1.2.3.4 2001:db8::1.2.3.4 1 2\r\n":  {"[1:2:3:4:5:6:102:304]:1", "[2001:db8::102:304]:2"},
		"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nPROXY TCP4 1.1.1.1 ": {"192.0.2.1:1", "192.0.2.2:2"},
	} {
		h, size, err := Parse([]byte(line))
		require.NoError(t, err, line)
		require.Equal(t, strings.Index(line, "\n")+1, size)
		require.Equal(t, Header{Version: 1, Transport: Stream, Source: addrPort(want[0]), Dest: addrPort(want[1])}, h, line)
		compare(t, []byte(line))
	}
	for _, line := range []string{
		"PROXY UNKNOWN\r\n", "PROXY UNKNOWN any junk\r\n", "PROXY UNKNOWN \r\n",
		"PROXY UNKNOWN " + strings.Repeat("f", 91) + "\r\n",
	} {
		h, size, err := Parse([]byte(line))
		require.NoError(t, err, line)
		require.Equal(t, len(line), size)
		require.Equal(t, Header{Version: 1}, h)
		compare(t, []byte(line))
	}
}

func TestV1MalformedIsRejected(t *testing.T) {
	const good = "PROXY TCP4 192.0.2.1 192.0.2.2 1234 5678\r\n"
	replace := func(old, new string) string { return strings.Replace(good, old, new, 1) }
	for line, want := range map[string]error{
		"":  ErrIncomplete,
		"P": ErrIncomplete, "PROXY ": ErrIncomplete, "PROXY UNKNOWN": ErrIncomplete, "PROXY UNKNOWN x\r": ErrIncomplete, "PROXY TCP": ErrIncomplete,
		good[:len(good)-1]: ErrIncomplete,
		"GET / HTTP/1.1":   ErrNoHeader, "\x16\x03\x01": ErrNoHeader, " " + good: ErrNoHeader, "\r\n": ErrIncomplete, "\r\nx": ErrNoHeader,
		replace("PROXY", "proxy"): ErrNoHeader, replace("PROXY ", "PROXY\t"): ErrNoHeader,
		replace("\r\n", "\n"): ErrMalformed, replace("\r\n", "\rx\n"): ErrMalformed, replace("\r\n", " \r\n"): ErrMalformed,
		replace("TCP4 ", "TCP4  "): ErrMalformed, replace("PROXY ", "PROXY  "): ErrMalformed, replace("TCP4 ", "TCP4\t"): ErrMalformed,
		replace("TCP4", "TCP5"): ErrMalformed, replace("TCP4", "UDP4"): ErrMalformed, replace("TCP4", "tcp4"): ErrMalformed,
		replace(" 5678", ""): ErrMalformed, replace(" 5678", " 5678 9"): ErrMalformed, replace("192.0.2.1 ", ""): ErrMalformed,
		replace("1234", "65536"): ErrMalformed, replace("1234", "-1"): ErrMalformed, replace("1234", "+80"): ErrMalformed,
		replace("1234", "00080"): ErrMalformed, replace("1234", ""): ErrMalformed, replace("1234", "8o80"): ErrMalformed,
		replace("1234", "00"): ErrMalformed, replace("5678", ""): ErrMalformed, replace("5678", "123456"): ErrMalformed,
		replace("192.0.2.1", "256.1.1.1"): ErrMalformed, replace("192.0.2.1", "1.2.3"): ErrMalformed,
		replace("192.0.2.1", "1.2.3.4.5"): ErrMalformed, replace("192.0.2.1", "01.2.3.4"): ErrMalformed,
		replace("192.0.2.1", "1..2.3"): ErrMalformed, replace("192.0.2.1", "1.2.3."): ErrMalformed, replace("192.0.2.1", "::1"): ErrMalformed,
		replace("TCP4", "TCP6"):           ErrMalformed, // IPv4 text
		"PROXY TCP6 ::1%eth0 ::1 1 2\r\n": ErrMalformed, "PROXY TCP6 1:2:3:4:5:6:7:8:9 ::1 1 2\r\n": ErrMalformed,
		"PROXY TCP6 1::2::3 ::1 1 2\r\n": ErrMalformed, "PROXY TCP6 ::: ::1 1 2\r\n": ErrMalformed, "PROXY TCP6 1: ::1 1 2\r\n": ErrMalformed,
		"PROXY TCP6 :1 ::1 1 2\r\n": ErrMalformed, "PROXY TCP6 ::12345 ::1 1 2\r\n": ErrMalformed, "PROXY TCP6 1:2:3:4:5:6:7:1.2.3.4 ::1 1 2\r\n": ErrMalformed,
		"PROXY TCP6 1:2:3:4:5:6:7:8:: ::1 1 2\r\n": ErrMalformed, "PROXY TCP6 [::1] ::1 1 2\r\n": ErrMalformed,
		"PROXY UNKNOWNx\r\n": ErrMalformed, "PROXY UNKNOWN a\nb\r\n": ErrMalformed, "PROXY UNKNOWN a\rb\r\n": ErrMalformed, "PROXY UNKNOWN\n": ErrMalformed,
		"PROXY UNKNOWN " + strings.Repeat("f", 92) + "\r\n":     ErrTooLong,
		"PROXY UNKNOWN " + strings.Repeat("f", 1<<20):           ErrTooLong,
		"PROXY " + strings.Repeat("x", 1<<20):                   ErrMalformed,
		"PROXY TCP4 " + strings.Repeat("1", 16):                 ErrMalformed,
		"PROXY TCP6 " + strings.Repeat("f", maxText6+1) + " ::": ErrMalformed,
	} {
		_, _, err := Parse([]byte(line))
		require.Equal(t, want, err, "%.80q", line)
		compare(t, []byte(line))
	}
}

// frame returns a version 2 header.
func frame(command, family byte, block ...[]byte) []byte {
	body := bytes.Join(block, nil)
	return append(binary.BigEndian.AppendUint16([]byte(signature+string([]byte{command, family})), uint16(len(body))), body...)
}

func tlv(typ byte, value string) []byte {
	return append(binary.BigEndian.AppendUint16([]byte{typ}, uint16(len(value))), value...)
}

var (
	block4 = []byte{192, 0, 2, 1, 192, 0, 2, 2, 4, 210, 22, 46}
	block6 = append(append(append([]byte{0x20, 1, 0xd, 0xb8}, make([]byte, 11)...), 1), append(append([]byte{0x20, 1, 0xd, 0xb8}, make([]byte, 11)...), 2, 4, 210, 22, 46)...)
	unix   = make([]byte, unixSize)
)

func TestV2(t *testing.T) {
	v4 := Header{Version: 2, Transport: Stream, Source: addrPort("192.0.2.1:1234"), Dest: addrPort("192.0.2.2:5678")}
	v6 := Header{Version: 2, Transport: Stream, Source: addrPort("[2001:db8::1]:1234"), Dest: addrPort("[2001:db8::2]:5678")}
	mapped := append(append(append([]byte{}, append(make([]byte, 10), 0xff, 0xff, 192, 0, 2, 1)...), append(make([]byte, 10), 0xff, 0xff, 192, 0, 2, 2)...), 4, 210, 22, 46)
	local := func(h Header) Header { h.Local = true; return h }
	udp := func(h Header) Header { h.Transport = Datagram; return h }
	for i, c := range []struct {
		frame []byte
		want  Header
	}{
		{frame(0x21, 0x11, block4), v4}, {frame(0x21, 0x21, block6), v6}, {frame(0x21, 0x21, mapped), v4},
		{frame(0x21, 0x12, block4), udp(v4)}, {frame(0x21, 0x22, block6), udp(v6)},
		{frame(0x20, 0x00), Header{Version: 2, Local: true}}, {frame(0x20, 0x11), Header{Version: 2, Local: true}},
		{frame(0x20, 0x11, block4[:5]), Header{Version: 2, Local: true}}, {frame(0x20, 0x11, block4), local(v4)},
		{frame(0x21, 0x00), Header{Version: 2}}, {frame(0x21, 0x00, []byte{1, 2, 3, 4}), Header{Version: 2}},
		{frame(0x20, 0x00, []byte{1, 2, 3, 4}), Header{Version: 2, Local: true}},
		{frame(0x21, 0x31, unix), Header{Version: 2, Transport: Stream}}, {frame(0x21, 0x32, unix), Header{Version: 2, Transport: Datagram}},
	} {
		for _, more := range []string{"", "\x02\x00\x01a", "PROXY UNKNOWN\r\n", signature} {
			b := append(bytes.Clone(c.frame), more...)
			h, size, err := Parse(b)
			require.NoError(t, err, "%d: %q", i, b)
			require.Equal(t, len(c.frame), size, "%d", i)
			require.Empty(t, h.TLVs)
			h.TLVs = nil
			require.Equal(t, c.want, h, "%d", i)
			compare(t, b)
		}
	}
}

func TestV2Families(t *testing.T) {
	sizes := map[byte]int{0: 0, 0x11: 12, 0x12: 12, 0x21: 36, 0x22: 36, 0x31: 216, 0x32: 216}
	for _, command := range []byte{0x20, 0x21} {
		for b := range 256 {
			want, defined := sizes[byte(b)]
			_, _, err := Parse(frame(command, byte(b), make([]byte, want)))
			if defined {
				require.NoError(t, err, "%#x %#x", command, b)
			} else {
				require.Equal(t, ErrMalformed, err, "%#x %#x", command, b)
				_, _, err = Parse([]byte(signature + string([]byte{command, byte(b)})))
				require.Equal(t, ErrMalformed, err, "before the length")
			}
			for n := range want { // shorter than the addresses
				_, _, err := Parse(frame(0x21, byte(b), make([]byte, n)))
				require.Equal(t, ErrMalformed, err, "%#x with %d bytes", b, n)
			}
		}
	}
	for command := range 256 {
		if command != 0x20 && command != 0x21 {
			_, _, err := Parse(frame(byte(command), 0x11, block4))
			require.Equal(t, ErrMalformed, err, "%#x", command)
			_, _, err = Parse([]byte(signature + string([]byte{byte(command)})))
			require.Equal(t, ErrMalformed, err, "%#x", command)
		}
	}
}

func TestV2LengthLimits(t *testing.T) {
	for length, want := range map[uint16]error{4080: ErrIncomplete, 4081: ErrTooLong, 65535: ErrTooLong, 12: ErrIncomplete, 11: ErrMalformed} {
		b := binary.BigEndian.AppendUint16([]byte(signature+"\x21\x11"), length)
		_, _, err := Parse(b)
		require.Equal(t, want, err, "%d", length)
	}
	whole := frame(0x21, 0x11, block4, tlv(0xe0, strings.Repeat("x", 4080-12-3)))
	require.Len(t, whole, MaxV2)
	_, size, err := Parse(whole)
	require.NoError(t, err)
	require.Equal(t, MaxV2, size)
}

func TestTLVs(t *testing.T) {
	list := [][]byte{tlv(1, "h2"), tlv(byte(proxyproto.PP2_TYPE_AUTHORITY), "example.com"), tlv(5, "id"), tlv(0x30, "blue"), tlv(0xe0, ""), tlv(0xf5, "?"), tlv(0xe0, "second")}
	for _, block := range [][]byte{block4, block6, unix} {
		family := map[int]byte{12: 0x11, 36: 0x21, 216: 0x31}[len(block)]
		h, _, err := Parse(frame(0x21, family, append([][]byte{block}, list...)...))
		require.NoError(t, err)
		for typ, want := range map[byte]string{1: "h2", 2: "example.com", 5: "id", 0x30: "blue", 0xe0: "", 0xf5: "?"} {
			got, ok := h.TLV(typ)
			require.True(t, ok)
			require.Equal(t, want, string(got))
		}
		_, ok := h.TLV(0xea)
		require.False(t, ok)
		for _, wrong := range [][]byte{{2}, {2, 0}, {2, 0, 2, 'a'}, {2, 0xff, 0xff}, {3, 0, 3, 1, 2, 3}, {3, 0, 0}} {
			_, _, err := Parse(frame(0x21, family, append(append([][]byte{block}, list...), wrong)...))
			require.Equal(t, ErrMalformed, err, "%q", wrong)
			_, _, err = Parse(frame(0x20, family, append(append([][]byte{block}, list...), wrong)...))
			require.NoError(t, err, "of no interest in a LOCAL header: %q", wrong)
		}
	}
}

func TestChecksum(t *testing.T) {
	h := Header{Version: 2, Transport: Stream, Source: addrPort("192.0.2.1:1234"), Dest: addrPort("192.0.2.2:5678"), TLVs: bytes.Join([][]byte{tlv(2, "a"), tlv(3, "sum!"), tlv(5, "b")}, nil)}
	good := h.Append(nil)
	// The polynomial of the table gives the values of RFC 3720, appendix B.4.
	back, _, err := Parse(good)
	require.NoError(t, err)
	_, old := back.TLV(3)
	require.True(t, old)
	require.Equal(t, len(h.TLVs), len(back.TLVs), "the old checksum is replaced, not kept")
	for i := 16; i < len(good); i++ { // every byte after the length
		for bit := range 8 {
			bad := bytes.Clone(good)
			bad[i] ^= 1 << bit
			_, _, err := Parse(bad)
			if typ := 16 + 12 + 4 + 4; i >= typ && i < typ+3 {
				require.NotEqual(t, ErrIncomplete, err) // wrong checksum, or the TLVs do not fit
				continue
			}
			require.Error(t, err, "byte %d, bit %d", i, bit)
		}
	}
	// A checksum in the middle covers the bytes after it.
	mid := frame(0x21, 0x11, block4, tlv(3, "\x00\x00\x00\x00"), tlv(5, "id"))
	sum := crcOf(mid)
	binary.BigEndian.PutUint32(mid[16+12+3:], sum)
	_, _, err = Parse(mid)
	require.NoError(t, err)
	mid[len(mid)-1] ^= 1
	_, _, err = Parse(mid)
	require.Equal(t, ErrChecksum, err)
	_, _, err = Parse(frame(0x21, 0x11, block4, tlv(3, "abcd"), tlv(3, "abcd")))
	require.Equal(t, ErrMalformed, err)
	for _, command := range []byte{0x20, 0x21} {
		_, _, err = Parse(frame(command, 0x00, tlv(3, "abcd")))
		require.Equal(t, ErrChecksum, err)
	}
}

// crcOf is CRC32c bit by bit.
func crcOf(b []byte) uint32 {
	crc := ^uint32(0)
	for _, c := range b {
		crc ^= uint32(c)
		for range 8 {
			crc = crc>>1 ^ 0x82f63b78&-(crc&1)
		}
	}
	return ^crc
}

func TestAppend(t *testing.T) {
	for text, h := range map[string]Header{
		"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n":                        {Version: 1, Source: addrPort("192.0.2.1:1"), Dest: addrPort("192.0.2.2:2")},
		"PROXY TCP6 2001:db8::1 ::1 1 65535\r\n":                        {Version: 1, Source: addrPort("[2001:db8::1]:1"), Dest: addrPort("[::1]:65535")},
		"PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n":                       {Version: 1, Source: addrPort("192.0.2.1:1"), Dest: addrPort("[::1]:2")},
		"PROXY UNKNOWN\r\n":                                             {Version: 1, Local: true, TLVs: tlv(1, "x")},
		"PROXY TCP4 192.0.2.1 192.0.2.2 10 20\r\n":                      {Version: 1, Local: true, Source: addrPort("192.0.2.1:10"), Dest: addrPort("192.0.2.2:20"), TLVs: tlv(1, "x")},
		withChecksum(frame(0x21, 0x11, block4, tlv(3, "----"))):         {Version: 2, Transport: Stream, Source: addrPort("192.0.2.1:1234"), Dest: addrPort("192.0.2.2:5678")},
		withChecksum(frame(0x20, 0x21, block6, tlv(3, "----"))):         {Version: 2, Transport: Stream, Local: true, Source: addrPort("[2001:db8::1]:1234"), Dest: addrPort("[2001:db8::2]:5678")},
		withChecksum(frame(0x21, 0x22, block6, tlv(3, "----"))):         {Version: 2, Transport: Datagram, Source: addrPort("[2001:db8::1]:1234"), Dest: addrPort("[2001:db8::2]:5678")},
		withChecksum(frame(0x20, 0x00, tlv(3, "----"))):                 {Version: 2, Transport: Stream},
		withChecksum(frame(0x20, 0x00, tlv(2, "host"), tlv(3, "----"))): {Version: 2, TLVs: append(tlv(3, "junk"), tlv(2, "host")...)},
	} {
		require.Equal(t, text, string(h.Append(nil)))
		require.Equal(t, "before"+text, string(h.Append([]byte("before"))))
	}
}

// withChecksum sets the checksum at the end of a frame.
func withChecksum(f []byte) string {
	copy(f[len(f)-4:], "\x00\x00\x00\x00")
	binary.BigEndian.PutUint32(f[len(f)-4:], crcOf(f))
	return string(f)
}

func TestAddresses(t *testing.T) {
	for _, c := range []struct {
		frame  []byte
		stream bool
		dgram  bool
	}{
		{frame(0x21, 0x11, block4), true, false}, {frame(0x21, 0x12, block4), false, true}, {frame(0x20, 0x11, block4), false, false},
		{frame(0x21, 0x31, unix), false, false}, {frame(0x21, 0x00), false, false}, {[]byte("PROXY UNKNOWN\r\n"), false, false},
		{[]byte("PROXY TCP4 192.0.2.1 192.0.2.2 1234 5678\r\n"), true, false},
	} {
		h, _, err := Parse(c.frame)
		require.NoError(t, err)
		client, dest, ok := h.Addresses(Stream)
		require.Equal(t, c.stream, ok)
		if ok {
			require.Equal(t, "192.0.2.1:1234 192.0.2.2:5678", fmt.Sprint(client, " ", dest))
		}
		_, _, ok = h.Addresses(Datagram)
		require.Equal(t, c.dgram, ok)
	}
}

func TestDatagram(t *testing.T) {
	head := frame(0x21, 0x12, block4, tlv(5, "id"))
	for _, payload := range []string{"", "x", strings.Repeat("y", 1000)} {
		h, got, err := ParseDatagram(append(bytes.Clone(head), payload...))
		require.NoError(t, err)
		require.Equal(t, payload, string(got))
		require.Equal(t, addrPort("192.0.2.1:1234"), h.Source)
	}
	for text, want := range map[string]error{
		"": ErrNoHeader, "x": ErrNoHeader, signature[:11]: ErrNoHeader, signature: ErrMalformed, string(head[:len(head)-1]): ErrMalformed,
		"PROXY UNKNOWN\r\n": ErrNoHeader, "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n": ErrNoHeader,
	} {
		_, _, err := ParseDatagram([]byte(text))
		require.Equal(t, want, err, "%q", text)
	}
}

func TestNoAllocation(t *testing.T) {
	v2 := Header{Version: 2, Transport: Stream, Source: addrPort("192.0.2.1:1234"), Dest: addrPort("192.0.2.2:5678"), TLVs: tlv(2, "example.com")}
	b := v2.Append(nil)
	line := []byte("PROXY TCP6 2001:db8::1 ::ffff:1.2.3.4 1234 5678\r\n")
	room := make([]byte, 0, 256)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		h, _, err := Parse(b)
		if err != nil {
			panic(err)
		}
		room = h.Append(room[:0])
		if h, _, err = Parse(line); err != nil {
			panic(err)
		}
		room = h.Append(room[:0])
	}))
}

func BenchmarkParseV1(b *testing.B) {
	line := []byte("PROXY TCP4 192.0.2.1 192.0.2.2 1234 5678\r\n")
	for b.Loop() {
		if _, _, err := Parse(line); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseV2(b *testing.B) {
	h := Header{Version: 2, Transport: Stream, Source: addrPort("192.0.2.1:1234"), Dest: addrPort("192.0.2.2:5678"), TLVs: tlv(2, "example.com")}
	frame := h.Append(nil)
	for b.Loop() {
		if _, _, err := Parse(frame); err != nil {
			b.Fatal(err)
		}
	}
}

// What Need says of a beginning is the size of the whole header.
func TestNeed(t *testing.T) {
	h := Header{Version: 2, Transport: Stream, Source: netip.MustParseAddrPort("10.0.0.1:1"), Dest: netip.MustParseAddrPort("10.0.0.2:2")}
	text := h.Append(nil)
	for n := range len(text) {
		want := len(text)
		if n < 16 {
			want = 0
		}
		require.Equal(t, want, Need(text[:n]))
	}
	require.Zero(t, Need([]byte("PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r")))
}
