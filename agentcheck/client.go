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
			advice, parseErr := readReply(conn)
			if parseErr != nil {
				return Advice{}, err
			}
			return advice, nil
		}
	}
	return readReply(conn)
}

func readReply(r io.Reader) (Advice, error) {
	var buf [MaxReply]byte
	n := 0
	for n < len(buf) {
		got, err := r.Read(buf[n:])
		n += got
		if lineEnd(buf[n-got:n]) >= 0 {
			break
		}
		if errors.Is(err, io.EOF) {
			if n == 0 {
				return Advice{}, ErrEmpty
			}
			break
		}
		if err != nil {
			return Advice{}, err
		}
	}
	return Parse(buf[:n])
}
