package checks

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"

	driver "github.com/go-sql-driver/mysql"
)

// mysqlConn is the driver's connection. It limits the bytes read, keeps the first bytes and the first error, and lets
// the server close first.
//
// The driver does not check packet lengths, and leaks resources if it panics over a short packet during the login.
// Until the login is over, mysqlConn therefore reads packet by packet, rejects packets that no server sends, and pads
// short packets of old servers and of programs that imitate them. It cannot do so under TLS.
type mysqlConn struct {
	*checkConn
	login   bool   // the login is in progress, without TLS
	pending []byte // read, but not returned yet
	greeted bool   // the first packet has been read

	first []byte // the first bytes that the server sent
	read  int
	last  error // the first error
}

func (w *mysqlConn) Read(p []byte) (int, error) {
	if w.login && len(w.pending) == 0 {
		if err := w.readPacket(); err != nil {
			return 0, err
		}
	}
	if len(w.pending) > 0 {
		n := copy(p, w.pending)
		w.pending = w.pending[n:]
		return n, nil
	}
	return w.readRaw(p)
}

var errMalformed = errors.New("malformed packet")

// readPacket reads a packet into pending.
func (w *mysqlConn) readPacket() error {
	packet := make([]byte, 4, 256)
	if _, err := io.ReadFull(rawReader{w}, packet); err != nil {
		return err
	}
	size := int(packet[0]) | int(packet[1])<<8 | int(packet[2])<<16
	if size == 0 || size > maxPacket {
		w.last = errors.New("not a MySQL packet")
		return w.last
	}
	packet = append(packet, make([]byte, size)...)
	if _, err := io.ReadFull(rawReader{w}, packet[4:]); err != nil {
		return err
	}
	w.pending = padPacket(packet, !w.greeted)
	if w.pending == nil {
		w.last = errMalformed
		return w.last
	}
	w.greeted = true
	return nil
}

// padPacket pads a login packet to the length that the driver assumes. It returns nil if the packet is invalid.
func padPacket(packet []byte, greeting bool) []byte {
	const shortestOK, shortestError = 32, 9 // with numbers of any size; with an SQL state
	switch p := packet[4:]; {
	case p[0] == 0xff && len(p) < 4:
		packet = append(append(packet, 0, 0)[:4+3], "#HY000"...)
	case p[0] == 0xff && p[3] == '#' && len(p) < shortestError:
		packet = append(packet, "00000"[len(p)-4:]...)
	case p[0] == 0xff:
	case greeting:
		version := bytes.IndexByte(p[1:], 0)
		shortest := 1 + version + 1 + 4 + 8 + 1 + 2
		if version < 0 || len(p) < shortest {
			return nil
		}
		if old := p[shortest-1]&(clientProtocol41>>8) == 0; !old && len(p) < shortest+3+2+7+4+13 {
			return nil
		}
	case p[0] == 0xfe && len(p) > 1:
		plugin, challenge, _ := bytes.Cut(p[1:], []byte{0})
		if string(plugin) == "mysql_native_password" && len(bytes.TrimSuffix(challenge, []byte{0})) < 20 {
			return nil
		}
	case p[0] == 1:
		if block, _ := pem.Decode(p[1:]); block != nil {
			key, _ := x509.ParsePKIXPublicKey(block.Bytes)
			if _, isRSA := key.(*rsa.PublicKey); !isRSA {
				return nil
			}
		}
	case p[0] == 0 && len(p) < shortestOK:
		packet = append(packet, make([]byte, shortestOK-len(p))...)
	}
	packet[0], packet[1] = byte(len(packet)-4), byte((len(packet)-4)>>8)
	return packet
}

// rawReader reads from the wire without packet checks.
type rawReader struct{ w *mysqlConn }

func (r rawReader) Read(p []byte) (int, error) { return r.w.readRaw(p) }

func (w *mysqlConn) readRaw(p []byte) (int, error) {
	if w.read >= 2*maxReply {
		w.last = tooLargeError(2 * maxReply)
		return 0, w.last
	}
	n, err := w.checkConn.Read(p)
	w.read += n
	if room := 256 - len(w.first); room > 0 {
		w.first = append(w.first, p[:min(n, room)]...)
	}
	if err != nil && w.last == nil {
		w.last = closedError(err)
	}
	return n, err
}

func (w *mysqlConn) Close() error {
	w.closeAfterServer()
	return nil
}

// detail returns the server's version, or "" if it has not sent one.
func (w *mysqlConn) detail() string {
	if len(w.first) > 4 {
		if g, err := parseGreeting(w.first[4:]); err == nil {
			return "mysql " + clipText(g.version)
		}
	}
	return ""
}

// explain replaces generic driver errors by the error of the connection, and removes the password from server errors.
func (w *mysqlConn) explain(err error, password string) error {
	var serverErr *driver.MySQLError
	if errors.As(err, &serverErr) {
		return &mysqlError{code: serverErr.Number, text: redact(serverErr.Message, password)}
	}
	if w.checkConn == nil {
		return err // not connected
	}
	if w.last != nil {
		err = w.last
	}
	switch {
	case w.detail() == "" || errors.Is(err, errMalformed) && !w.greeted:
		return mismatch(err, "a MySQL greeting", w.first)
	case errors.Is(err, errMalformed):
		return mismatch(err, "the MySQL protocol", w.first)
	}
	return err
}
