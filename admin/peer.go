package admin

// Who sends a request: the address of a client, or the user at the other end of a unix socket.

import (
	"crypto/tls"
	"net"
	"net/http"
	"os/user"
	"strconv"
	"strings"
	"syscall"
	"unicode"
)

// maxSubject bounds the name of a client certificate.
const maxSubject = 64

// peer names the client: an address, with the name of its certificate, or a user.
func (c *limitedConn) peer() string {
	if c.Conn.RemoteAddr().Network() == "unix" {
		return unixPeer(c.Conn)
	}
	name := c.Conn.RemoteAddr().String()
	if c.secure == nil {
		return name
	}
	if certs := c.secure.ConnectionState().PeerCertificates; len(certs) > 0 {
		subject := strings.Map(func(r rune) rune {
			if !unicode.IsPrint(r) {
				return '·'
			}
			return r
		}, certs[0].Subject.CommonName)
		if runes := []rune(subject); len(runes) > maxSubject {
			subject = string(runes[:maxSubject]) + "…"
		}
		name += " (" + subject + ")"
	}
	return name
}

// requester names who sent a request.
func requester(r *http.Request) string { return connOf(r).peer() }

// unixPeer names the user that connected to a unix socket (SO_PEERCRED): user root.
func unixPeer(conn net.Conn) string {
	const unknown = "unix"
	raw, ok := conn.(syscall.Conn)
	if !ok {
		return unknown
	}
	control, err := raw.SyscallConn()
	if err != nil {
		return unknown
	}
	var cred *syscall.Ucred
	if control.Control(func(fd uintptr) {
		cred, err = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	}) != nil || err != nil {
		return unknown
	}
	id := strconv.FormatUint(uint64(cred.Uid), 10)
	if u, err := user.LookupId(id); err == nil {
		return "user " + u.Username
	}
	return "user " + id
}

// secured returns the connection with TLS on top, or itself without.
func (c *limitedConn) secured() net.Conn {
	if c.tls == nil {
		return c
	}
	c.secure = tls.Server(c, c.tls)
	return c.secure
}
