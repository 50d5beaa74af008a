package checks

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// mysqlPackets reads packets of a MySQL server and writes packets to it, after the greeting. Long packets are read in
// parts, so that a large row needs no memory. In all, at most maxSkipped bytes are read. Source: "MySQL Internals",
// Protocol Basics.
type mysqlPackets struct {
	conn     io.ReadWriter
	in       *bufio.Reader
	sequence byte // of the last packet in either direction
	left     int  // unread bytes of the current packet
	total    int  // bytes read since the session began or, if it outlives a check, in the exchange
	maxValue int  // bytes kept of a value

	lastQuery string
}

func newMySQLPackets(conn io.ReadWriter, sequence byte) *mysqlPackets {
	return &mysqlPackets{conn: conn, in: bufio.NewReaderSize(conn, 4096), sequence: sequence, maxValue: maxValue}
}

// write writes a packet that continues the exchange.
func (m *mysqlPackets) write(payload []byte) error {
	m.sequence++
	size := len(payload)
	_, err := m.conn.Write(append([]byte{byte(size), byte(size >> 8), byte(size >> 16), m.sequence}, payload...))
	return err
}

// command writes a packet that begins an exchange.
func (m *mysqlPackets) command(code byte, text string) error {
	m.sequence = 0xff // the next one is 0
	return m.write(append([]byte{code}, text...))
}

// next skips the rest of the current packet and begins the next one.
func (m *mysqlPackets) next() error {
	if err := m.skip(m.left); err != nil {
		return err
	}
	var header [4]byte
	if n, err := io.ReadFull(m.in, header[:]); err != nil {
		if n > 0 {
			return mismatch(closedError(err), "a MySQL packet", header[:n])
		}
		return closedError(err)
	}
	m.left = int(header[0]) | int(header[1])<<8 | int(header[2])<<16
	m.sequence = header[3]
	if m.total += len(header) + m.left; m.total > maxSkipped {
		return tooLargeError(maxSkipped)
	}
	return nil
}

// Read reads from the current packet. Its error is io.EOF at the end of the packet.
func (m *mysqlPackets) Read(p []byte) (int, error) {
	if m.left == 0 {
		return 0, io.EOF
	}
	n, err := m.in.Read(p[:min(len(p), m.left)])
	m.left -= n
	if n > 0 {
		err = nil
	}
	return n, closedError(err)
}

// skip discards n bytes of the current packet.
func (m *mysqlPackets) skip(n int) error {
	if n > m.left {
		return errMalformed
	}
	done, err := m.in.Discard(n)
	m.left -= done
	return closedError(err)
}

var errMalformed = errors.New("malformed packet")

// packet reads the next packet and returns its first bytes, at least one and at most maxPacket. If it is an error packet,
// the error is a *mysqlError.
func (m *mysqlPackets) packet() ([]byte, error) {
	if err := m.next(); err != nil {
		return nil, err
	}
	if m.left == 0 {
		return nil, malformed(nil)
	}
	p := make([]byte, min(m.left, maxPacket))
	if n, err := io.ReadFull(m, p); err != nil {
		return nil, mismatch(closedError(err), "a MySQL packet", p[:n])
	}
	if p[0] == 0xff {
		return nil, parseError(p)
	}
	return p, nil
}

// malformed returns the error of a packet that no server sends.
func malformed(packet []byte) error {
	return fmt.Errorf("%w: expected the MySQL protocol, got %s", errMalformed, quote(packet))
}

// integer reads a length-encoded integer of the current packet. null reports NULL instead.
func (m *mysqlPackets) integer() (n int, null bool, err error) {
	var b [8]byte
	if _, err := io.ReadFull(m, b[:1]); err != nil {
		return 0, false, packetEnd(err)
	}
	size := 0
	switch b[0] {
	case 0xfb:
		return 0, true, nil
	case 0xfc:
		size = 2
	case 0xfd:
		size = 3
	case 0xfe:
		size = 8
	case 0xff:
		return 0, false, errMalformed
	default:
		return int(b[0]), false, nil
	}
	b = [8]byte{}
	if _, err := io.ReadFull(m, b[:size]); err != nil {
		return 0, false, packetEnd(err)
	}
	v := binary.LittleEndian.Uint64(b[:])
	if v > maxSkipped {
		return 0, false, errMalformed
	}
	return int(v), false, nil
}

// Text reads a length-encoded text of the current packet and returns its first bytes, at most keep. null reports NULL.
func (m *mysqlPackets) text(keep int) (text string, null bool, err error) {
	n, null, err := m.integer()
	if err != nil || null {
		return "", null, err
	}
	if n > m.left {
		return "", false, errMalformed
	}
	b := make([]byte, min(n, keep))
	if _, err := io.ReadFull(m, b); err != nil {
		return "", false, packetEnd(err)
	}
	return string(b), false, m.skip(n - len(b))
}

// packetEnd replaces the end of a packet by errMalformed.
func packetEnd(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errMalformed
	}
	return err
}

// Limits of a result.
const (
	maxColumns = 4096 // of MySQL
	maxName    = 256  // bytes kept of a column's name; identifiers have at most 64 characters
	maxValue   = 1024 // bytes kept of a value
)

// row is one row of a result by lower-case column name. NULL values are absent.
type row map[string]string

// isEnd reports whether the current packet, of which nothing was read, ends a list, and returns the error of an error
// packet.
func (m *mysqlPackets) isEnd() (bool, error) {
	if m.left == 0 {
		return false, malformed(nil)
	}
	first, err := m.in.Peek(1)
	if err != nil {
		return false, closedError(err)
	}
	switch {
	case first[0] == 0xfe && m.left < 9:
		return true, nil
	case first[0] == 0xff:
		p := make([]byte, min(m.left, maxPacket))
		if _, err := io.ReadFull(m, p); err != nil {
			return false, packetEnd(err)
		}
		return false, parseError(p)
	}
	return false, nil
}
