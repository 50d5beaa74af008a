package soak

// The ClientHello that clients of a listener with routes by name send before everything else.

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
)

// serverNames are the names that clients ask for: of routes, of names below a wildcard, and of none.
var serverNames = []string{"a.soak.test", "A.Soak.Test", "x.b.soak.test", "y.x.b.soak.test", "b.soak.test", "c.soak.test", "other.test"}

// maxHelloPause is the longest pause of a client within its ClientHello, in milliseconds. preread_timeout often expires while
// weir is suspended, when the rest has arrived.
const maxHelloPause = 3000

// clientHello is the ClientHello of a session.
type clientHello struct {
	bytes []byte // empty = none
	name  string // that it asks for, in lower case
	cut   int    // where the client pauses
	pause uint32 // milliseconds
}

// randomHello returns a ClientHello in records of a random size, sometimes none.
func randomHello(r *rand.Rand) (h clientHello) {
	if r.IntN(8) == 0 {
		return h
	}
	name := serverNames[r.IntN(len(serverNames))]
	message := newHello(name)
	size := len(message)
	if r.IntN(3) == 0 {
		size = 1 + r.IntN(600)
	}
	h.name, h.bytes = strings.ToLower(name), splitRecord(message, size)
	if h.cut = r.IntN(len(h.bytes)); r.IntN(10) == 0 {
		h.pause = uint32(r.IntN(maxHelloPause))
	}
	return h
}

// prefixSize returns how many bytes a session sends before its stream.
func (s *script) prefixSize() uint64 { return uint64(headerSize + len(s.hello.bytes)) }

// newHello returns the first record of a TLS client.
func newHello(name string) []byte {
	first := &firstWrite{}
	_ = tls.Client(first, &tls.Config{ServerName: name, NextProtos: []string{"h2", "http/1.1"}}).Handshake()
	return first.bytes
}

// firstWrite is a connection that keeps what is written first, and then fails.
type firstWrite struct {
	net.Conn
	bytes []byte
}

func (f *firstWrite) Write(b []byte) (int, error) {
	if f.bytes == nil {
		f.bytes = slices.Clone(b)
	}
	return 0, io.ErrClosedPipe
}

func (f *firstWrite) Close() error { return nil }

const (
	recordHeader    = 5  // bytes
	handshakeRecord = 22 // type of records with a ClientHello
	maxHello        = 16 << 10
)

// splitRecord divides a TLS record into records of at most size bytes.
func splitRecord(record []byte, size int) (all []byte) {
	for part := range slices.Chunk(record[recordHeader:], size) {
		all = binary.BigEndian.AppendUint16(append(all, record[:3]...), uint16(len(part)))
		all = append(all, part...)
	}
	return all
}

// readHello reads the ClientHello of a connection, if it begins with one. It consumes nothing else.
func readHello(in *bufio.Reader) (hello []byte, err error) {
	start, err := in.Peek(1)
	if err != nil || start[0] != handshakeRecord {
		return nil, err
	}
	var message []byte
	for len(message) < 4 || len(message) < 4+int(binary.BigEndian.Uint32(message)&0xffffff) {
		head := make([]byte, recordHeader)
		if _, err := io.ReadFull(in, head); err != nil {
			return hello, err
		}
		part := make([]byte, binary.BigEndian.Uint16(head[3:]))
		if head[0] != handshakeRecord || len(message) > maxHello {
			return hello, corruption{fmt.Errorf("invalid record %q after %d bytes of a ClientHello", head, len(hello))}
		}
		if _, err := io.ReadFull(in, part); err != nil {
			return hello, err
		}
		hello, message = append(append(hello, head...), part...), append(message, part...)
	}
	return hello, nil
}

// helloSum identifies a ClientHello; 0 = none.
func helloSum(hello []byte) uint32 { return crc32.ChecksumIEEE(hello) }

// checkHello compares a ClientHello with the checksum in the script of the session.
func (s *script) checkHello(got []byte) error {
	if helloSum(got) != s.helloSum {
		return corruption{errors.New("the ClientHello is not that of the client")}
	}
	return nil
}
