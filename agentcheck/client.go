package agentcheck

import (
	"errors"
	"io"
)

// Query writes send, if it is not empty, to an agent's connection and reads the reply up to its first line end, at most
// MaxReply bytes. It neither closes the connection nor sets a deadline; the caller does.
//
// The errors are those of Parse and of the connection. If the connection ends after a complete line, cleanly or by a
// reset, that is not an error.
func Query(conn io.ReadWriter, send []byte) (Advice, error) {
	if len(send) > 0 {
		// An agent may reply and close without reading, so a failed write is returned only if there is
		// no reply either.
		if _, err := conn.Write(send); err != nil {
			advice, parseErr := ReadReply(conn, false)
			if parseErr != nil {
				return Advice{}, err
			}
			return advice, nil
		}
	}
	return ReadReply(conn, false)
}

// ReadReply reads a reply up to its first line end. With endsLine, the end of r ends the line too. The errors are those of
// Parse and of r.
func ReadReply(r io.Reader, endsLine bool) (Advice, error) {
	buf := make([]byte, 0, 512)
	for len(buf) < MaxReply {
		if len(buf) == cap(buf) {
			buf = append(make([]byte, 0, 2*len(buf)), buf...)
		}
		n, err := r.Read(buf[len(buf):min(cap(buf), MaxReply)])
		begin := len(buf)
		buf = buf[:begin+n]
		if lineEnd(buf[begin:]) >= 0 {
			break
		}
		ended := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		switch {
		case err != nil && !ended:
			return Advice{}, err
		case ended && len(buf) == 0:
			return Advice{}, ErrEmpty
		case ended && endsLine && errors.Is(err, io.EOF) && len(buf) < MaxReply:
			buf = append(buf, '\n')
		}
		if ended {
			break
		}
	}
	return Parse(buf)
}
