package checks

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// maxLine is the maximum length of a line of the Redis protocol, including its end. Longer lines are rejected.
const maxLine = 512

// respReader implements the part of the Redis protocol, version 2, that a check needs: commands of plain words, and
// simple, error, integer and bulk replies. Source: "Redis serialization protocol specification".
type respReader struct{ replyReader }

// redisError is an error reply.
type redisError struct{ text string }

func (e *redisError) Error() string { return "server replied " + quote([]byte(e.text)) }

// protocolError reports bytes that are not a reply of this protocol.
type protocolError struct {
	why error
	got []byte
}

func (e *protocolError) Error() string { return mismatch(e.why, "a Redis reply", e.got).Error() }
func (e *protocolError) Unwrap() error { return e.why }

// command sends a command and returns the value of the reply, of at most limit bytes. The errors are *redisError,
// *protocolError and those of the connection.
func (r *respReader) command(w io.Writer, limit int, words ...string) ([]byte, error) {
	var command []byte
	command = fmt.Appendf(command, "*%d\r\n", len(words))
	for _, word := range words {
		command = fmt.Appendf(command, "$%d\r\n%s\r\n", len(word), word)
	}
	if _, err := w.Write(command); err != nil {
		// The server may have sent the reason before it closed, such as too many clients.
		if value, readErr := r.readReply(limit); readErr != nil {
			var serverErr *redisError
			if errors.As(readErr, &serverErr) {
				return value, readErr
			}
		}
		return nil, err
	}
	return r.readReply(limit)
}

// readReply reads one reply.
func (r *respReader) readReply(limit int) ([]byte, error) {
	r.buf, r.unread = r.buf[r.unread:], 0
	line, err := r.readLine()
	if err != nil {
		return nil, err
	}
	switch line[0] {
	case '+', ':':
		return line[1:], nil
	case '-':
		return nil, &redisError{string(line[1:])}
	case '$':
		n, err := strconv.ParseUint(string(line[1:]), 10, 31)
		if err != nil {
			return nil, &protocolError{errors.New("wrong length"), line}
		}
		if int(n) > limit {
			return nil, &protocolError{fmt.Errorf("reply too large (over %d bytes)", limit), line}
		}
		return r.readBulk(int(n))
	}
	return nil, &protocolError{errors.New("not a Redis reply"), line}
}

// readLine reads and consumes a line. The result is not empty.
func (r *respReader) readLine() ([]byte, error) {
	for {
		text := r.buf[r.unread:]
		i := bytes.IndexByte(text[:min(len(text), maxLine)], '\n')
		switch {
		case i >= 0:
			r.unread += i + 1
			line := bytes.TrimSuffix(text[:i], []byte("\r"))
			if len(line) == 0 {
				return nil, &protocolError{errors.New("empty line"), text[:i+1]}
			}
			return line, nil
		case len(text) > 0 && bytes.IndexByte([]byte("+-:$*"), text[0]) < 0:
			// No further bytes can make this a reply.
			return nil, &protocolError{errors.New("not a Redis reply"), text}
		case len(text) >= maxLine:
			return nil, &protocolError{fmt.Errorf("line too long (over %d bytes)", maxLine), text}
		}
		if err := r.readMore(); err != nil {
			return nil, err
		}
	}
}

// readBulk reads and consumes n bytes and the line end after them.
func (r *respReader) readBulk(n int) ([]byte, error) {
	for len(r.buf)-r.unread < n+2 {
		if err := r.readMore(); err != nil {
			return nil, err
		}
	}
	value := r.buf[r.unread : r.unread+n]
	r.unread += n + 2
	return value, nil
}

// readMore reads once more. Bytes received before an error are part of the error.
func (r *respReader) readMore() error {
	err := error(errTooLarge)
	if len(r.buf) < maxReply {
		err = r.read()
	}
	if err != nil {
		if len(r.buf) > r.unread {
			return &protocolError{err, r.buf[r.unread:]}
		}
		return err
	}
	return nil
}
