package checks

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
)

// loginOld logs in to a server from before MySQL 4.1, or one that speaks as those did. There is nothing else to ask it.
// Source: "MySQL Internals", Protocol::HandshakeResponse320.
func (o MySQL) loginOld(ctx context.Context, t Target, password string) (Report, error) {
	if o.Role != "" || o.MaxLag > 0 || o.Galera || o.Query != "" || o.Database != "" || o.TLS != nil {
		return Report{}, errors.New("login: expected a server of MySQL 4.1 or later, got an older one, which can only be logged in to")
	}
	x, err := openConn(ctx, t, nil)
	if err != nil {
		return Report{}, err
	}
	defer x.closeAfterServer()
	p, sequence, err := readPacket(x, "a MySQL greeting")
	if err != nil {
		return Report{}, fmt.Errorf("login: %w", err)
	}
	greeting, err := parseGreeting(p)
	if err != nil {
		return Report{}, fmt.Errorf("login: %w", err)
	}
	report := Report{Detail: "mysql " + printable(greeting.version)}
	x.noReset = true
	if _, err = x.Write(oldLogin(sequence+1, o.User, password, greeting.challenge)); err != nil {
		return report, fmt.Errorf("login: %w", err)
	}
	const want = "an answer to a login"
	p, _, err = readPacket(x, want)
	switch {
	case err != nil:
	case p[0] == 0xff:
		if err = parseError(p); err != nil {
			var refused *mysqlError
			if errors.As(err, &refused) {
				refused.text = redact(refused.text, password)
			}
		}
	case p[0] != 0:
		err = mismatch(errors.New("wrong reply"), want, p)
	}
	if err != nil {
		return report, fmt.Errorf("login: %w", err)
	}
	_, _ = x.Write(comQuit[:])
	return report, nil
}

// oldLogin is the packet of a login of before 4.1.
func oldLogin(sequence byte, user, password string, challenge [8]byte) []byte {
	p := binary.LittleEndian.AppendUint16([]byte{0, 0, 0, sequence}, clientLongPassword)
	p = append(p, maxPacket&0xff, maxPacket>>8, 0)
	p = append(append(p, user...), 0)
	p = append(append(p, oldScramble(challenge, password)...), 0)
	p[0], p[1] = byte(len(p)-4), byte((len(p)-4)>>8)
	return p
}

// oldScramble is how a password was proved before 4.1: mysql_old_password.
func oldScramble(challenge [8]byte, password string) []byte {
	if password == "" {
		return nil
	}
	const limit = 0x3fffffff
	a, b := oldHash([]byte(password)), oldHash(challenge[:])
	x, y := (a[0]^b[0])%limit, (a[1]^b[1])%limit
	next := func() byte {
		x = (x*3 + y) % limit
		y = (x + y + 33) % limit
		return byte(uint64(x) * 31 / limit)
	}
	proof := make([]byte, len(challenge))
	for i := range proof {
		proof[i] = next() + 64
	}
	mask := next()
	for i := range proof {
		proof[i] ^= mask
	}
	return proof
}

func oldHash(text []byte) [2]uint32 {
	a, b, add := uint32(1345345333), uint32(0x12345671), uint32(7)
	for _, c := range text {
		if c == ' ' || c == '\t' {
			continue
		}
		a ^= (a&63+add)*uint32(c) + a<<8
		b += b<<8 ^ a
		add += uint32(c)
	}
	return [2]uint32{a & 0x7fffffff, b & 0x7fffffff}
}
