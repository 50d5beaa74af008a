package agentcheck

import (
	"errors"
	"io"
)

// Query writes send, if there is any, to an agent's connection and reads the agent's reply: up to its first line end, and
// never more than MaxReply bytes. It neither closes the connection nor limits the time: that is the caller's deadline.
//
// The errors are those of Parse and those of the connection. A connection that ends, cleanly or by a reset, after a
// complete line is no error.
func Query(conn io.ReadWriter, send []byte) (Advice, error) {
	if len(send) > 0 {
		// An agent may answer and close without having read what was sent, so a failed write is told only if there is
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
