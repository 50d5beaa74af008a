package checks

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

// mysqlGreeting is the first packet of a MySQL server. Source: "MySQL Internals", Protocol::HandshakeV10.
type mysqlGreeting struct {
	version      string // without the prefix of MariaDB 10
	thread       uint32 // number of the server's thread for the connection
	challenge    []byte // 8 bytes, or 20 since MySQL 4.1
	capabilities uint32
	plugin       string // authentication method of most users; "" = not sent
}

// isMariaDB reports whether the server is MariaDB and not MySQL.
func (g *mysqlGreeting) isMariaDB() bool { return strings.Contains(g.version, "MariaDB") }

// detail returns the server's kind and version for a report.
func (g *mysqlGreeting) detail() string { return "mysql " + clipText(g.version) }

// mysqlError is an error packet.
type mysqlError struct {
	code uint16
	text string
}

// isMySQLError reports whether err is an error packet of the server.
func isMySQLError(err error) bool {
	var serverErr *mysqlError
	return errors.As(err, &serverErr)
}

// mysqlOutcome returns err, as a FullError if it is an error packet of a server that has no room for another connection.
func mysqlOutcome(err error) error {
	if serverErr, ok := errors.AsType[*mysqlError](err); ok && isFullCode(serverErr.code) {
		return &FullError{err}
	}
	return err
}

// isFullCode reports whether an error says that there is no room for another connection.
func isFullCode(code uint16) bool {
	switch code {
	case 1040, // too many connections
		1203, // too many connections of the user
		1226: // a limit of the user is reached
		return true
	}
	return false
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
	g := mysqlGreeting{
		version: string(version), thread: binary.LittleEndian.Uint32(rest), challenge: bytes.Clone(rest[4:12]),
		capabilities: uint32(binary.LittleEndian.Uint16(rest[13:])),
	}
	if v, found := strings.CutPrefix(g.version, "5.5.5-"); found && g.isMariaDB() {
		g.version = v // MariaDB 10 puts the prefix before its version, for old replicas
	}
	// A character set, the status, the upper half of the capabilities, the length of the challenge and a reserve of 10
	// bytes follow, then the rest of the challenge.
	if rest = rest[15:]; len(rest) < 1+2+2+1+10+12 {
		return g, nil
	}
	g.capabilities |= uint32(binary.LittleEndian.Uint16(rest[3:])) << 16
	rest = rest[16:]
	g.challenge = append(g.challenge, rest[:12]...)
	if g.capabilities&clientPluginAuth != 0 && len(rest) > 13 {
		plugin, _, _ := bytes.Cut(rest[13:], []byte{0})
		g.plugin = string(plugin)
	}
	return g, nil
}

// parseError parses an error packet with or without an SQL state.
func parseError(p []byte) error {
	if len(p) < 3 {
		return mismatch(errors.New("error packet cut short"), "an error code", p)
	}
	text := p[3:]
	if len(text) > 0 && text[0] == '#' {
		text = text[min(6, len(text)):]
	}
	return &mysqlError{code: binary.LittleEndian.Uint16(p[1:3]), text: string(text)}
}

// unknownUser is the user name of a check without a user. It is assumed not to exist.
const unknownUser = "weir-check"

// Capabilities of clients and servers.
const (
	clientLongPassword     = 1 << 0
	clientConnectWithDB    = 1 << 3
	clientProtocol41       = 1 << 9
	clientSSL              = 1 << 11
	clientTransactions     = 1 << 13
	clientSecureConnection = 1 << 15
	clientPluginAuth       = 1 << 19
	clientConnectAttrs     = 1 << 20
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

// quitPacket is the packet of COM_QUIT.
var quitPacket = [...]byte{1, 0, 0, 0, comQuit}
