package checks

import (
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
)

// mysqlLogin is what a check needs to log in.
type mysqlLogin struct {
	user, password, database string

	secure *tls.Config // nil = plain

	// The full password is sent to servers that ask for it only over TLS, or encrypted with serverKey or, if
	// allowPublicKey is set, with a key that the server sends.
	serverKey      *rsa.PublicKey
	allowPublicKey bool
}

// mysqlSession is a connection after a login.
type mysqlSession struct {
	*mysqlPackets
	conn     *checkConn
	greeting mysqlGreeting
	role     string // primary or replica, for the report
}

// start connects and logs in. The session is not nil if the server has sent a greeting.
func (l *mysqlLogin) start(ctx context.Context, t Target) (*mysqlSession, error) {
	x, err := openConn(ctx, t, nil)
	if err != nil {
		return nil, err
	}
	s := &mysqlSession{conn: x}
	sequence := byte(0)
	s.greeting, sequence, err = readGreeting(x)
	if err != nil {
		x.closeAfterServer()
		return nil, err
	}
	err = l.authenticate(x, s, sequence, t)
	switch {
	case errors.Is(err, errMalformed):
		x.close()
	case err != nil:
		x.closeAfterServer()
	}
	return s, err
}

// readGreeting reads a server's first packet.
func readGreeting(x *checkConn) (mysqlGreeting, byte, error) {
	p, sequence, err := readPacket(x, "a MySQL greeting")
	if err != nil {
		return mysqlGreeting{}, 0, err
	}
	g, err := parseGreeting(p)
	return g, sequence, err
}

// quit ends a session as the server expects.
func (s *mysqlSession) quit() {
	_ = s.command(comQuit, "")
	s.conn.closeAfterServer()
}

// authenticate requests TLS, if wanted, and logs in.
func (l *mysqlLogin) authenticate(x *checkConn, s *mysqlSession, sequence byte, t Target) error {
	g := &s.greeting
	switch {
	case g.capabilities&clientProtocol41 == 0:
		return errors.New("login: expected a server of MySQL 4.1 or later, got an older one")
	case len(g.challenge) < 20:
		return fmt.Errorf("login: %w", mismatch(errMalformed, "a MySQL greeting with a challenge of 20 bytes", g.challenge))
	case l.secure != nil && g.capabilities&clientSSL == 0:
		response, _ := unknownUserLogin(sequence+1, false)
		_ = finishLogin(x, response)
		return errors.New("login: TLS: expected a server that offers it, got one that does not")
	}
	capabilities := uint32(clientLongPassword | clientProtocol41 | clientTransactions | clientSecureConnection)
	capabilities |= g.capabilities & (clientPluginAuth | clientConnectAttrs)
	if l.database != "" {
		capabilities |= clientConnectWithDB
	}
	if l.secure != nil {
		capabilities |= clientSSL
	}
	head := binary.LittleEndian.AppendUint32(nil, capabilities)
	head = binary.LittleEndian.AppendUint32(head, maxReply) // the longest packet
	head = append(head, 45)                                 // utf8mb4
	head = append(head, make([]byte, 23)...)
	s.mysqlPackets = newMySQLPackets(x, sequence)
	if l.secure != nil {
		if err := s.write(head); err != nil {
			return fmt.Errorf("request TLS: %w", err)
		}
		if err := x.startTLS(tlsFor(l.secure, t)); err != nil {
			return err
		}
	}
	a := &mysqlAuth{login: l, s: s, plugin: g.plugin, challenge: g.challenge, local: t.Network == "unix"}
	proof, err := a.proof()
	if errors.Is(err, errUnknownMethod) || errors.Is(err, errFullPassword) || len(proof) > 250 {
		// The server asks for another method if it does not accept this one. Its length has one byte in this packet.
		a.plugin = nativePassword
		proof, err = a.proof()
	}
	if err != nil {
		return fmt.Errorf("login: %w", err)
	}
	response := append(append(head, l.user...), 0)
	response = append(append(response, byte(len(proof))), proof...)
	if l.database != "" {
		response = append(append(response, l.database...), 0)
	}
	if capabilities&clientPluginAuth != 0 {
		response = append(append(response, a.plugin...), 0)
	}
	if capabilities&clientConnectAttrs != 0 {
		response = append(response, "\x12\x0cprogram_name\x04weir"...)
	}
	err = s.write(response)
	if err == nil {
		err = a.finish()
	} else if _, readErr := s.packet(); readErr != nil && isMySQLError(readErr) {
		err = readErr // the server has sent the reason before it closed
	}
	if err != nil {
		return fmt.Errorf("login: %w", err)
	}
	return nil
}

// mysqlAuth is the state of one authentication.
type mysqlAuth struct {
	login     *mysqlLogin
	s         *mysqlSession
	plugin    string
	challenge []byte
	local     bool // over a unix socket
}

var errUnknownMethod = errors.New("unknown authentication method")

// proof returns the first response of the method.
func (a *mysqlAuth) proof() ([]byte, error) {
	password := a.login.password
	switch a.plugin {
	case "mysql_old_password":
		return nil, errors.New("expected a login of MySQL 4.1 or later, got a request for an older one")
	case nativePassword, cachingSHA2:
		switch {
		case len(a.challenge) < 20:
			return nil, malformed(a.challenge)
		case password == "":
			return nil, nil
		case a.plugin == nativePassword:
			return nativeProof(a.challenge[:20], password), nil
		}
		return sha2Proof(a.challenge[:20], password), nil
	case sha256Password:
		switch {
		case password == "":
			return []byte{0}, nil
		case a.login.secure != nil:
			return append([]byte(password), 0), nil
		case a.login.serverKey != nil:
			return sealPassword(a.challenge, password, a.login.serverKey)
		case a.login.allowPublicKey:
			return []byte{1}, nil // asks for the key
		}
		return nil, errFullPassword
	case clientEd25519:
		return ed25519Proof(a.challenge, password)
	}
	return nil, errUnknownMethod
}

// errFullPassword is the error of a server that asks for the password itself on a connection without TLS.
var errFullPassword = errors.New("the server asks for the password itself: use tls, server_public_key_file or allow_public_key")

// finish completes the exchange after the first response.
func (a *mysqlAuth) finish() error {
	switched := false
	for range 4 {
		p, err := a.s.packet()
		if err != nil {
			return err
		}
		switch {
		case p[0] == 0:
			return nil
		case p[0] == 0xfe && !switched:
			switched = true
			err = a.switchMethod(p)
		case p[0] == 1:
			err = a.more(p[1:])
		default:
			err = malformed(p)
		}
		if err != nil {
			a.giveUp()
			return err
		}
	}
	return malformed(nil)
}

// giveUp ends the exchange with a wrong response. A connection that ends before the server has answered a login counts
// against this host, which the server blocks in the end.
func (a *mysqlAuth) giveUp() {
	if a.s.write([]byte{0}) == nil {
		_, _ = a.s.packet()
	}
}

// switchMethod answers a request for another method. A request without a name is one for that of servers before 4.1.
func (a *mysqlAuth) switchMethod(p []byte) error {
	if len(p) == 1 {
		p = []byte("\xfemysql_old_password\x00")
	}
	name, challenge, _ := bytes.Cut(p[1:], []byte{0})
	a.plugin = string(name)
	if len(challenge)%2 == 1 { // 20 or 32 bytes and a NUL
		challenge = bytes.TrimSuffix(challenge, []byte{0})
	}
	a.challenge = challenge
	proof, err := a.proof()
	if errors.Is(err, errUnknownMethod) {
		err = fmt.Errorf("%w %s", err, quote(name))
	}
	if err != nil {
		return err
	}
	return a.s.write(proof)
}

// more answers further data of the method.
func (a *mysqlAuth) more(data []byte) error {
	const fastOK, full, requestKey = 3, 4, 2
	switch {
	case a.plugin == cachingSHA2 && len(data) == 1 && data[0] == fastOK:
		return nil
	case a.plugin == cachingSHA2 && len(data) == 1 && data[0] == full:
		key := a.login.serverKey
		switch {
		case a.login.secure != nil, a.local && (key != nil || a.login.allowPublicKey):
			return a.s.write(append([]byte(a.login.password), 0))
		case key != nil:
			return a.sendSealed(key)
		case a.login.allowPublicKey:
			return a.s.write([]byte{requestKey})
		}
		return errFullPassword
	case (a.plugin == cachingSHA2 || a.plugin == sha256Password) && len(data) > 1 && a.login.secure == nil && a.login.serverKey == nil && a.login.allowPublicKey:
		key, err := parsePublicKey(data)
		if err != nil {
			return fmt.Errorf("the server's public key: %w", err)
		}
		return a.sendSealed(key)
	}
	return malformed(data)
}

// sendSealed sends the password encrypted for the owner of a key.
func (a *mysqlAuth) sendSealed(key *rsa.PublicKey) error {
	sealed, err := sealPassword(a.challenge, a.login.password, key)
	if err != nil {
		return err
	}
	return a.s.write(sealed)
}
