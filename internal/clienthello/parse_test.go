package clienthello

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// goHello returns the bytes that a TLS client of Go sends first.
func goHello(t testing.TB, config *tls.Config) []byte {
	t.Helper()
	client, server := net.Pipe()
	defer server.Close()
	go func() {
		tls.Client(client, config).Handshake()
		client.Close()
	}()
	head := make([]byte, 5)
	_, err := io.ReadFull(server, head)
	require.NoError(t, err)
	body := make([]byte, binary.BigEndian.Uint16(head[3:]))
	_, err = io.ReadFull(server, body)
	require.NoError(t, err)
	return append(head, body...)
}

// extension returns an extension of a ClientHello.
func extension(typ uint16, data string) string {
	b := binary.BigEndian.AppendUint16(nil, typ)
	b = binary.BigEndian.AppendUint16(b, uint16(len(data)))
	return string(b) + data
}

func vector16(s string) string {
	return string(binary.BigEndian.AppendUint16(nil, uint16(len(s)))) + s
}

func nameExtension(name string) string { return extension(0, vector16("\x00"+vector16(name))) }

// message returns a ClientHello with the given extensions, without records.
func message(extensions string) string {
	body := "\x03\x03" + strings.Repeat("r", 32) + "\x00" + "\x00\x02\x13\x01" + "\x01\x00" + vector16(extensions)
	return "\x01" + string([]byte{byte(len(body) >> 16), byte(len(body) >> 8), byte(len(body))}) + body
}

// records splits a message over records of at most size bytes.
func records(message string, size int) (out []byte) {
	for len(message) > 0 {
		n := min(size, len(message))
		out = append(out, 22, 3, 1, byte(n>>8), byte(n))
		out = append(out, message[:n]...)
		message = message[n:]
	}
	return out
}

func parse(b []byte) (Hello, int, error) { return Parse(slices.Clone(b)) }

func TestClientOfGo(t *testing.T) {
	h, _, err := parse(goHello(t, &tls.Config{ServerName: "DB.example.com", NextProtos: []string{"postgresql", "h2"}}))
	require.NoError(t, err)
	require.Equal(t, "db.example.com", string(h.ServerName))
	require.True(t, h.Offers("postgresql") && h.Offers("h2"))
	require.False(t, h.Offers("postgres") || h.Offers("") || h.Offers("H2"))

	h, _, err = parse(goHello(t, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}))
	require.NoError(t, err)
	require.Empty(t, h.ServerName)
	require.False(t, h.Offers("h2"))
}

// A prefix of a hello is incomplete and tells how many bytes are needed at least; the hello itself is complete, whatever
// the size of its records.
func TestPrefixes(t *testing.T) {
	whole := message(nameExtension("a.example") + extension(0x2a2a, "grease") + extension(16, vector16("\x02h2")))
	for size := 1; size <= len(whole); size++ {
		b := records(whole, size)
		for n := range b {
			_, need, err := parse(b[:n])
			require.Equal(t, ErrIncomplete, err, "%d of %d bytes in records of %d", n, len(b), size)
			require.Greater(t, need, n)
			require.LessOrEqual(t, need, len(b), "%d of %d bytes in records of %d", n, len(b), size)
		}
		h, _, err := parse(append(b, "and more"...))
		require.NoError(t, err)
		require.Equal(t, "a.example", string(h.ServerName))
		require.True(t, h.Offers("h2"))
	}
}

func TestNotHello(t *testing.T) {
	good := message(nameExtension("a"))
	change := func(at int, c byte) string {
		b := []byte(good)
		b[at] = c
		return string(records(string(b), 1<<14))
	}
	for name, b := range map[string]string{
		"plain HTTP":                     "G",
		"SSLv2":                          "\x80\x2e\x01\x00\x02",
		"an alert":                       "\x15",
		"another version":                "\x16\x02",
		"an empty record":                "\x16\x03\x01\x00\x00",
		"a record that is too long":      "\x16\x03\x01\x40\x01",
		"a ServerHello":                  "\x16\x03\x01\x00\x10\x02",
		"a short body":                   "\x16\x03\x01\x00\x10\x01\x00\x00\x28",
		"an alert between two records":   string(records(good, 10)[:15]) + "\x15",
		"a major version of 2":           change(4, 2),
		"a long session id":              change(4+34, 33),
		"an odd list of ciphers":         change(4+36, 3),
		"extensions beyond the end":      change(4+41, 0xff),
		"a truncated extension":          string(records(message("\x00\x00\x00\x09\x00"), 1<<14)),
		"two names of servers":           string(records(message(nameExtension("a")+nameExtension("b")), 1<<14)),
		"two lists of protocols":         string(records(message(extension(16, vector16(""))+extension(16, vector16(""))), 1<<14)),
		"a list of names beyond the end": string(records(message(extension(0, "\x00\x09\x00")), 1<<14)),
		"a protocol beyond the end":      string(records(message(extension(16, vector16("\x05h2"))), 1<<14)),
	} {
		_, _, err := parse([]byte(b))
		require.Equal(t, ErrNotHello, err, name)
	}
}

func TestServerNames(t *testing.T) {
	for name, want := range map[string]string{
		"a.EXAMPLE.": "a.example", "": "", ".": "", "a\x00b": "", "a b": "", "\xc3\xa4.example": "", "10.0.0.1": "10.0.0.1", "x_y.example": "x_y.example",
		strings.Repeat("x", 255): strings.Repeat("x", 255), strings.Repeat("x", 256): "",
	} {
		h, _, err := parse(records(message(nameExtension(name)), 1<<14))
		require.NoError(t, err)
		require.Equal(t, want, string(h.ServerName))
	}
	// A name of an unknown type is not that of a host.
	h, _, err := parse(records(message(extension(0, vector16("\x07"+vector16("x")+"\x00"+vector16("y")))), 1<<14))
	require.NoError(t, err)
	require.Equal(t, "y", string(h.ServerName))
}

// The limit counts the bytes of the message, not those of the headers of records.
func TestSizeLimit(t *testing.T) {
	padding := func(size int) string {
		return message(nameExtension("a.example") + extension(21, strings.Repeat("p", size-len(message(nameExtension("a.example")+extension(21, "")))))) // RFC 7685
	}
	for _, size := range []int{20, 100, 1 << 14} {
		b := records(padding(MaxSize), size)
		require.LessOrEqual(t, len(b), MaxStream)
		h, _, err := parse(b)
		require.NoError(t, err)
		require.Equal(t, "a.example", string(h.ServerName))
		_, need, err := parse(b[:len(b)-1])
		require.Equal(t, ErrIncomplete, err)
		require.Equal(t, len(b), need)

		_, _, err = parse(records(padding(MaxSize+1), size))
		require.Equal(t, ErrTooLong, err)
	}
	// Records of one byte are accepted, unless there are very many of them.
	_, _, err := parse(records(padding(MaxStream/6), 1))
	require.NoError(t, err)
	for _, n := range []int{1 << 20, MaxStream, MaxStream / 2} { // known to be too long before all has arrived
		b := records(padding(MaxSize), 1)
		_, _, err = parse(b[:min(n, len(b))])
		require.Equal(t, ErrTooLong, err)
	}
}

// The number of bytes that are needed never exceeds the size of the hello, and reading only that many makes progress.
func TestNeed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		whole := message(nameExtension("a") + extension(21, strings.Repeat("p", rapid.IntRange(0, 15000).Draw(t, "padding"))))
		b := records(whole, rapid.IntRange(1, 1<<14).Draw(t, "record"))
		have, steps := 0, 0
		for {
			_, need, err := parse(b[:have])
			if err == nil {
				break
			}
			if len(b) > MaxStream && err == ErrTooLong {
				break
			}
			require.Equal(t, ErrIncomplete, err)
			require.Greater(t, need, have)
			require.LessOrEqual(t, need, len(b))
			have = need
			steps++
		}
		require.LessOrEqual(t, steps, 200)
	})
}

// A record may hold more than the ClientHello. As long as the size of the message is not known, only its header is needed.
func TestNeedOfRecordThatHoldsMore(t *testing.T) {
	hello := message(nameExtension("a.example"))
	b := records(hello+strings.Repeat("x", 12000), 1<<14)
	for n := range recordHeader + messageHeader {
		_, need, err := parse(b[:n])
		require.Equal(t, ErrIncomplete, err)
		require.LessOrEqual(t, need, recordHeader+messageHeader)
	}
	for n := recordHeader + messageHeader; n < recordHeader+len(hello); n++ {
		_, need, err := parse(b[:n])
		require.Equal(t, ErrIncomplete, err)
		require.LessOrEqual(t, need, recordHeader+len(hello))
	}
	h, _, err := parse(b[:recordHeader+len(hello)])
	require.NoError(t, err)
	require.Equal(t, "a.example", string(h.ServerName))
}

func FuzzParse(f *testing.F) {
	f.Add(goHello(f, &tls.Config{ServerName: "db.example.com", NextProtos: []string{"h2"}}), 7)
	f.Add(records(message(nameExtension("a")), 3), 1)
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), 3)
	f.Add([]byte("\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10"), 2)
	f.Fuzz(func(t *testing.T, b []byte, cut int) {
		h, need, err := parse(b)
		switch {
		case err == nil:
			if len(h.ServerName) > maxName {
				t.Fatal("long name")
			}
			h.Offers("h2")
		case errors.Is(err, ErrIncomplete):
			if need <= len(b) || need > MaxStream {
				t.Fatalf("%d of %d bytes needed", need, len(b))
			}
		}
		if cut < 0 || cut > len(b) {
			return
		}
		// What is decided after some bytes is not changed by more of them; what is complete was incomplete before.
		switch _, need, prefix := parse(b[:cut]); {
		case prefix == ErrIncomplete && err == nil && need > len(b):
			t.Fatalf("needs %d bytes, complete with %d", need, len(b))
		case prefix == ErrTooLong && err != ErrTooLong, prefix == nil && err != nil:
			t.Fatalf("%v after %d bytes, %v after all", prefix, cut, err)
		case prefix == ErrNotHello && err != ErrNotHello:
			t.Fatalf("%v after %d bytes, %v after all", prefix, cut, err)
		}
	})
}
