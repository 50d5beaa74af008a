package checks

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"sync/atomic"

	"weir/internal/nettest"
)

// challenge is the authentication challenge of every mysqlServer.
const challenge = "0123456789abcdefghij"

// greetingOf returns a server's first packet.
func greetingOf(plugin string) []byte {
	p := append([]byte{10}, "8.4.0-weir\x00"...)
	p = append(p, 1, 0, 0, 0)
	p = append(p, challenge[:8]...)
	p = append(p, 0)
	const capabilities = 1<<0 | 1<<3 | 1<<9 | 1<<13 | 1<<15 | 1<<19 // with a database, protocol 4.1, transactions, plugins
	p = binary.LittleEndian.AppendUint16(p, uint16(capabilities&0xffff))
	p = append(p, 45, 2, 0)
	p = binary.LittleEndian.AppendUint16(p, uint16(capabilities>>16))
	p = append(p, 21)
	p = append(p, make([]byte, 10)...)
	p = append(p, challenge[8:]...)
	p = append(p, 0)
	return append(append(p, plugin...), 0)
}

func packet(sequence byte, payload []byte) []byte {
	return append([]byte{byte(len(payload)), byte(len(payload) >> 8), byte(len(payload) >> 16), sequence}, payload...)
}

func errorPacket(sequence byte, code uint16, text string) []byte {
	p := binary.LittleEndian.AppendUint16([]byte{0xff}, code)
	return packet(sequence, append(p, "#08004"+text...))
}

var okPacket = []byte{0, 0, 0, 2, 0, 0, 0}

// mysqlServer is a server with one password and one plugin. It counts the clients that sent COM_QUIT.
type mysqlServer struct {
	plugin   string
	password string
	full     bool            // caching_sha2_password: as if the password is not cached
	key      *rsa.PrivateKey // nil = a new one
	left     atomic.Int32
	given    atomic.Bool // a client has sent the password in a form that the server can read
}

func (h *mysqlServer) handle(_ context.Context, c *net.TCPConn) {
	if err := h.serve(c); err != nil {
		_, _ = c.Write(errorPacket(9, 1045, "Access denied: "+err.Error()))
	}
}

func (h *mysqlServer) serve(c *net.TCPConn) error {
	if _, err := c.Write(packet(0, greetingOf(h.plugin))); err != nil {
		return err
	}
	login, sequence, err := readPacket(c, "a login")
	if err != nil {
		return err
	}
	if len(login) < 33 {
		return errors.New("short login")
	}
	_, rest, _ := bytes.Cut(login[32:], []byte{0}) // the user's name
	if len(rest) == 0 || len(rest) < 1+int(rest[0]) {
		return errors.New("short login")
	}
	answer := rest[1 : 1+int(rest[0])]
	switch h.plugin {
	case "mysql_native_password":
		if !bytes.Equal(answer, nativeAnswer(h.password)) {
			return errors.New("wrong password")
		}
	default:
		if sequence, err = h.sha2(c, sequence, answer); err != nil {
			return err
		}
	}
	if _, err := c.Write(packet(sequence+1, okPacket)); err != nil {
		return err
	}
	command, _, err := readPacket(c, "a command")
	if err == nil && len(command) == 1 && command[0] == 1 {
		h.left.Add(1)
	}
	return nil
}

func nativeAnswer(password string) []byte {
	once := sha1.Sum([]byte(password))
	twice := sha1.Sum(once[:])
	mask := sha1.Sum(append([]byte(challenge), twice[:]...))
	return xor(once[:], mask[:])
}

func sha2Answer(password string) []byte {
	once := sha256.Sum256([]byte(password))
	twice := sha256.Sum256(once[:])
	mask := sha256.Sum256(append(twice[:], challenge...))
	return xor(once[:], mask[:])
}

func xor(a, b []byte) []byte {
	out := make([]byte, len(a))
	for i := range a {
		out[i] = a[i] ^ b[i%len(b)]
	}
	return out
}

// sha2 performs the rest of caching_sha2_password and sha256_password.
func (h *mysqlServer) sha2(c io.ReadWriter, sequence byte, answer []byte) (byte, error) {
	if !h.full {
		if !bytes.Equal(answer, sha2Answer(h.password)) {
			return 0, errors.New("wrong password")
		}
		_, err := c.Write(packet(sequence+1, []byte{1, 3}))
		return sequence + 1, err
	}
	if h.plugin == cachingSHA2 {
		if _, err := c.Write(packet(sequence+1, []byte{1, 4})); err != nil {
			return 0, err
		}
		var err error
		if answer, sequence, err = readPacket(c, "a password"); err != nil {
			return 0, err
		}
	}
	if h.plugin == sha256Password && len(answer) == sha1.Size { // of mysql_native_password
		if _, err := c.Write(packet(sequence+1, []byte("\xfe"+h.plugin+"\x00"+challenge+"\x00"))); err != nil {
			return 0, err
		}
		var err error
		if answer, sequence, err = readPacket(c, "a password"); err != nil {
			return 0, err
		}
	}
	key := h.key
	if key == nil {
		var err error
		if key, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
			return 0, err
		}
	}
	if len(answer) == 1 && answer[0] > 0 { // a request for the key
		if _, err := c.Write(packet(sequence+1, append([]byte{1}, publicPEM(&key.PublicKey)...))); err != nil {
			return 0, err
		}
		var err error
		if answer, sequence, err = readPacket(c, "a password"); err != nil {
			return 0, err
		}
	}
	plain, err := rsa.DecryptOAEP(sha1.New(), nil, key, answer, nil)
	if err != nil {
		return 0, errors.New("no password")
	}
	h.given.Store(true)
	if !bytes.Equal(xor(plain, []byte(challenge)), []byte(h.password+"\x00")) {
		return 0, errors.New("wrong password")
	}
	return sequence, nil
}

// publicPEM returns a key in PEM format.
func publicPEM(key *rsa.PublicKey) []byte {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		panic(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// sendPackets sends packets one after the other, each but the first in reply to something.
func sendPackets(packets ...[]byte) nettest.Handler {
	return func(_ context.Context, c *net.TCPConn) {
		for i, p := range packets {
			if i > 0 {
				if _, err := c.Read(make([]byte, 4096)); err != nil {
					return
				}
			}
			if _, err := c.Write(p); err != nil {
				return
			}
		}
	}
}
