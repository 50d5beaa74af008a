package checks

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// mysqlGreeting is the first packet of a MySQL server. Source: "MySQL Internals", Protocol::HandshakeV10.
type mysqlGreeting struct {
	version string
	tls     bool // the server offers TLS
}

// mysqlError is an error packet.
type mysqlError struct {
	code uint16
	text string
}

func (e *mysqlError) Error() string {
	return fmt.Sprintf("server error %d: %s", e.code, quote([]byte(e.text)))
}

// maxPacket limits the packets that are read before the login. Real packets have a tenth of it.
const maxPacket = 4096

// readPacket reads one packet of at most maxPacket bytes, and its sequence number. The errors state what was expected.
func readPacket(r io.Reader, want string) (payload []byte, sequence byte, err error) {
	buf := make([]byte, 4, 256)
	n, err := io.ReadFull(r, buf)
	if err != nil {
		return nil, 0, mismatch(closedError(err), want, buf[:n])
	}
	size := int(buf[0]) | int(buf[1])<<8 | int(buf[2])<<16
	if size == 0 || size > maxPacket {
		return nil, 0, mismatch(errors.New("not a MySQL packet"), want, buf)
	}
	sequence = buf[3]
	payload = make([]byte, size)
	if n, err = io.ReadFull(r, payload); err != nil {
		return nil, 0, mismatch(closedError(err), want, append(buf, payload[:n]...))
	}
	return payload, sequence, nil
}

// closedError replaces an end of file in the middle of a packet by errClosed.
func closedError(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errClosed
	}
	return err
}

// parseGreeting parses the payload of a server's first packet. If that is an error packet, the error is a *mysqlError.
func parseGreeting(p []byte) (mysqlGreeting, error) {
	const want = "a MySQL greeting"
	if len(p) > 0 && p[0] == 0xff {
		return mysqlGreeting{}, parseError(p)
	}
	if len(p) == 0 || p[0] != 10 {
		return mysqlGreeting{}, mismatch(errors.New("not a MySQL server"), want, p)
	}
	version, rest, ok := bytes.Cut(p[1:], []byte{0})
	// The thread number, 8 bytes of challenge, a filler and the lower half of the capabilities must follow.
	if !ok || len(rest) < 4+8+1+2 {
		return mysqlGreeting{}, mismatch(errors.New("greeting cut short"), want, p)
	}
	capabilities := binary.LittleEndian.Uint16(rest[4+8+1:])
	return mysqlGreeting{string(version), capabilities&clientSSL != 0}, nil
}

// parseError parses an error packet with or without an SQL state.
func parseError(p []byte) error {
	if len(p) < 3 {
		return mismatch(errors.New("error packet cut short"), "an error code", p)
	}
	text := p[3:]
	if len(text) >= 6 && text[0] == '#' {
		text = text[6:]
	}
	return &mysqlError{code: binary.LittleEndian.Uint16(p[1:3]), text: string(text)}
}

// unknownUser is the user name of a check without a user. It is assumed not to exist.
const unknownUser = "weir-check"

// Capabilities of clients and servers.
const (
	clientLongPassword     = 1 << 0
	clientProtocol41       = 1 << 9
	clientSSL              = 1 << 11
	clientSecureConnection = 1 << 15
	clientPluginAuth       = 1 << 19
)

// unknownUserLogin returns the packet of a login without a password, Protocol::HandshakeResponse41. If secured is set,
// it also returns the packet that requests TLS before it, Protocol::SSLRequest, which is the beginning of the login.
func unknownUserLogin(sequence byte, secured bool) (login, request []byte) {
	capabilities := uint32(clientLongPassword | clientProtocol41 | clientSecureConnection | clientPluginAuth)
	if secured {
		capabilities |= clientSSL
	}
	p := binary.LittleEndian.AppendUint32([]byte{0, 0, 0, sequence}, capabilities)
	p = binary.LittleEndian.AppendUint32(p, maxPacket)
	p = append(p, 45) // utf8mb4
	p = append(p, make([]byte, 23)...)
	if secured {
		request = bytes.Clone(p)
		request[0] = byte(len(p) - 4)
		p[3]++
	}
	p = append(p, unknownUser+"\x00"...)
	p = append(p, 0) // an empty password
	p = append(p, "mysql_native_password\x00"...)
	p[0] = byte(len(p) - 4)
	return p, request
}

// comQuit is the packet of COM_QUIT.
var comQuit = [...]byte{1, 0, 0, 0, 1}
