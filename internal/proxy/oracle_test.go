// Comparison with another implementation, go-proxyproto.

package proxy

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/pires/go-proxyproto"
	"github.com/stretchr/testify/require"
)

// oracle parses bytes with go-proxyproto and returns the result in the types of this package. size is the header's length.
func oracle(b []byte) (h Header, size int, err error) {
	if len(b) > 0 && len(b) < 5 { // it needs five bytes
		b = b[:0]
	}
	rest := bytes.NewReader(b)
	r := bufio.NewReaderSize(rest, max(len(b), 16)) // all bytes at once: it rejects lines that arrive in parts
	o, err := proxyproto.Read(r)
	if err != nil {
		return Header{}, 0, err
	}
	size = len(b) - rest.Len() - r.Buffered()
	h = Header{Version: o.Version, Local: o.Command == proxyproto.LOCAL && o.Version == 2}
	switch {
	case o.TransportProtocol.IsStream():
		h.Transport = Stream
	case o.TransportProtocol.IsDatagram():
		h.Transport = Datagram
	}
	if o.Version == 2 {
		if _, err := o.TLVs(); err == nil {
			h.TLVs = rawTLVs(b[:size])
		} else if !h.Local && h.Transport != Unspec {
			return Header{}, 0, err
		}
	}
	h.Source, h.Dest = addressOf(o.SourceAddr), addressOf(o.DestinationAddr)
	return h, size, nil
}

func addressOf(a net.Addr) netip.AddrPort {
	var at netip.AddrPort
	switch a := a.(type) {
	case *net.TCPAddr:
		at = a.AddrPort()
	case *net.UDPAddr:
		at = a.AddrPort()
	}
	return netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
}

// rawTLVs returns the TLVs of a version 2 header.
func rawTLVs(header []byte) []byte {
	addresses, _, _ := family(header[13])
	if len(header) < 16+addresses {
		return nil
	}
	return header[16+addresses:]
}

// explainDifference returns why the two implementations may differ for b, or "".
func explainDifference(b []byte, ours, theirs error) string {
	switch {
	case len(b) > 16 && b[0] == '\r':
		declared := 16 + int(binary.BigEndian.Uint16(b[14:]))
		switch {
		case ours == nil && b[12] == 0x21 && b[13] == 0:
			return "it rejects a PROXY header of an unspecified family, which receivers may accept"
		case ours == ErrTooLong && declared > MaxV2:
			return "its limit of 4096 bytes does not count the first 16"
		case declared > len(b):
			return ""
		case ours == ErrChecksum:
			return "it does not look at checksums"
		case ours == ErrMalformed && sumsOf(rawTLVs(b[:declared])) != "":
			return "it does not look at checksums"
		}
	case len(b) == 16 && b[0] == '\r' && ours == nil && theirs != nil && b[12] == 0x21 && b[13] == 0:
		return "it rejects a PROXY header of an unspecified family"
	case ours != nil && bytes.HasPrefix(b, []byte("PROXY UNKNOWN ")) && bytes.IndexByte(b, '\r') < bytes.IndexByte(b, '\n')-1:
		return "it lets a CR stand within a line"
	}
	return ""
}

// sumsOf returns what is wrong with the checksum TLV except its value.
func sumsOf(b []byte) string {
	seen := false
	for len(b) >= 3 {
		end := 3 + int(binary.BigEndian.Uint16(b[1:]))
		if end > len(b) {
			return ""
		}
		if b[0] == 3 && (seen || end != 7) {
			return "two, or of a wrong length"
		}
		seen = seen || b[0] == 3
		b = b[end:]
	}
	return ""
}

// compare parses bytes with both implementations and checks properties that hold for all input.
func compare(t testing.TB, b []byte) {
	t.Helper()
	h, size, err := Parse(b)
	want, wantSize, theirs := oracle(b)
	if (err == nil) != (theirs == nil) {
		if explainDifference(b, err, theirs) == "" {
			t.Fatalf("%q: here %v, there %v", b, err, theirs)
		}
	} else if err == nil {
		if len(h.TLVs) == 0 {
			h.TLVs = nil
		}
		if len(want.TLVs) == 0 || h.TLVs == nil && sumsOf(want.TLVs) != "" {
			want.TLVs = nil
		}
		if want.Local && want.Transport == Unspec {
			h.Transport = Unspec // it treats a block that does not fit its family as UNSPEC
		}
		if fmt.Sprint(h, size) != fmt.Sprint(want, wantSize) {
			t.Fatalf("%q: here %+v of %d bytes, there %+v of %d", b, h, size, want, wantSize)
		}
	}
	checkPrefixes(t, b, err, size)
	if err == nil {
		checkRoundTrip(t, h)
	}
}

// checkPrefixes checks that the result depends neither on following bytes nor on segmentation.
func checkPrefixes(t testing.TB, b []byte, err error, size int) {
	t.Helper()
	decided := false
	var first error
	stride := 1 + len(b)/40 // depends on the length
	for n := 1; n <= len(b); n++ {
		if n%stride != 0 && n != len(b) && n != size && n != size-1 {
			continue
		}
		_, s, e := Parse(b[:n])
		switch {
		case decided && (e != first || e == nil && s != size):
			t.Fatalf("%q: %v after %d bytes, and %v before", b, e, n, first)
		case e != ErrIncomplete:
			decided, first = true, e
		}
		if e == nil && s > n {
			t.Fatalf("%q: %d bytes of %d", b, s, n)
		}
		if err == nil && n < size && e != ErrIncomplete {
			t.Fatalf("%q: %v after %d of %d bytes", b, e, n, size)
		}
	}
}

// checkRoundTrip writes a header and parses it again: header and bytes are the same.
func checkRoundTrip(t testing.TB, h Header) {
	t.Helper()
	if h.Version == 1 && !h.Source.IsValid() {
		h.Transport = Unspec
	}
	text := h.Append(nil)
	require.LessOrEqual(t, len(text), min(max(MaxV1, v2Fixed+addr6Size+len(h.TLVs)+checksumSize), MaxV2))
	back, size, err := Parse(text)
	require.NoError(t, err, "%q", text)
	require.Equal(t, len(text), size)
	require.Equal(t, h.Source, back.Source)
	require.Equal(t, h.Dest, back.Dest)
	require.Equal(t, h.Local || h.Version == 2 && !h.Source.IsValid(), back.Local)
	require.Equal(t, text, back.Append(nil))
	if h.Source.IsValid() {
		require.Equal(t, h.Transport, back.Transport)
	}
	if h.Version == 2 {
		_, _, err := oracle(text)
		require.NoError(t, err)
		kept := back.TLVs
		if sum, _ := checkTLVs(kept); sum >= 0 {
			kept = kept[:len(kept)-checksumSize]
		} else {
			require.Greater(t, len(text)+checksumSize, MaxV2)
		}
		if v2Fixed+addr6Size+len(h.TLVs) <= MaxV2 {
			require.Equal(t, string(appendTLVs(nil, h.TLVs, nil, MaxV2)), string(kept))
		}
	}
}
