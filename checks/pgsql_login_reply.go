package checks

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// pgsqlLoginReply inspects what a server sends until the login is complete. It rejects what pgconn would answer with the
// password itself, or with a computation that takes long and that the context of the check does not end.
type pgsqlLoginReply struct {
	secure   bool   // over TLS
	complete bool   // the rest is not inspected
	head     []byte // kind and length of the current message
	left     int    // bytes of its body that are still to come
	auth     []byte // its body so far, if it is about authentication
}

// maxIterations limits the iterations of SCRAM-SHA-256 that a server may ask for: 100 ms on a slow processor. PostgreSQL asks
// for 4,096 by default.
const maxIterations = 500_000

// pgsqlUnsafeError is a request of a server that a check does not meet.
type pgsqlUnsafeError struct{ text string }

func (e *pgsqlUnsafeError) Error() string { return e.text }

// add inspects the next bytes.
func (r *pgsqlLoginReply) add(p []byte) error {
	for len(p) > 0 && !r.complete {
		if n := min(5-len(r.head), len(p)); n > 0 {
			r.head = append(r.head, p[:n]...)
			p = p[n:]
			if strings.IndexByte("RSKZENv", r.head[0]) < 0 {
				return errors.New("wrong reply")
			}
			if len(r.head) < 5 {
				return nil
			}
			size := binary.BigEndian.Uint32(r.head[1:])
			switch {
			case size < 4:
				return errors.New("wrong reply")
			case size-4 > maxReply:
				return tooLargeError(maxReply)
			}
			r.left = int(size) - 4
		}
		n := min(r.left, len(p))
		if r.head[0] == 'R' {
			r.auth = append(r.auth, p[:n]...)
		}
		r.left -= n
		p = p[n:]
		if r.left > 0 {
			return nil
		}
		if err := r.inspect(); err != nil {
			return err
		}
		r.head, r.auth = r.head[:0], r.auth[:0]
	}
	return nil
}

// inspect inspects the current message.
func (r *pgsqlLoginReply) inspect() error {
	if r.head[0] == 'Z' {
		r.complete = true
	}
	if len(r.auth) < 4 {
		return nil
	}
	const clearText, saslContinue = 3, 11
	switch binary.BigEndian.Uint32(r.auth) {
	case clearText:
		if !r.secure {
			return &pgsqlUnsafeError{"the server asks for the password itself: use tls"}
		}
	case saslContinue:
		for field := range bytes.SplitSeq(r.auth[4:], []byte(",")) {
			text, found := strings.CutPrefix(string(field), "i=")
			n, err := strconv.Atoi(text)
			if found && err == nil && n < 1 { // pgconn formats no cause then
				return &pgsqlUnsafeError{"at least 1 iteration of SCRAM-SHA-256, the server asks for " + quote([]byte(text))}
			}
			if found && (errors.Is(err, strconv.ErrRange) || n > maxIterations) {
				return &pgsqlUnsafeError{fmt.Sprintf("at most %d iterations of SCRAM-SHA-256, the server asks for %s", maxIterations, quote([]byte(text)))}
			}
		}
	}
	return nil
}
