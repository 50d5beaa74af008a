package checks

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// maxLine is the maximum length of a line of the Redis protocol, including its end. Longer lines are rejected; of longer
// lines in a bulk reply, the beginning is used.
const maxLine = 512

// respReader implements the part of the Redis protocol, version 2, that checks and topology need: commands of plain words,
// and simple, error, integer, bulk and array replies. Source: "Redis serialization protocol specification".
type respReader struct{ *bufio.Reader }

func newRESPReader(from io.Reader) *respReader {
	return &respReader{bufio.NewReaderSize(from, 4096)}
}

// redisError is an error reply.
type redisError struct{ text string }

func (e *redisError) Error() string { return "server replied " + quote([]byte(e.text)) }

// maxClientsText begins the reply of a server that has no room for another client. Later versions say "max number of
// clients + cluster connections reached".
const maxClientsText = "ERR max number of clients"

// outcomeError returns err, as a FullError if the server has no room for another client.
func (e *redisError) outcomeError() error {
	if strings.HasPrefix(e.text, maxClientsText) {
		return &FullError{e}
	}
	return e
}

// protocolError reports bytes that are not a reply of this protocol.
type protocolError struct {
	why error
	got []byte
}

func (e *protocolError) Error() string { return mismatch(e.why, "a Redis reply", e.got).Error() }
func (e *protocolError) Unwrap() error { return e.why }

// command sends a command and returns a reply of one line. The errors are *redisError (in a FullError, if it has that
// meaning), *protocolError and those of the connection.
func (r *respReader) command(w io.Writer, words ...string) (value string, err error) {
	err = r.lines(w, func(line []byte) { value = string(line) }, words...)
	return value, err
}

// lines sends a command and calls line with each line of the reply, up to maxLine bytes of it. The errors are those of
// command.
func (r *respReader) lines(w io.Writer, line func([]byte), words ...string) error {
	if _, err := w.Write(appendCommand(nil, words)); err != nil {
		// The server may have sent the reason before it closed, such as too many clients.
		readErr := r.readReply(line)
		if serverErr := (*redisError)(nil); errors.As(readErr, &serverErr) {
			return readErr
		}
		return err
	}
	return r.readReply(line)
}

// appendCommand appends a command to text.
func appendCommand(text []byte, words []string) []byte {
	text = fmt.Appendf(text, "*%d\r\n", len(words))
	for _, word := range words {
		text = fmt.Appendf(text, "$%d\r\n%s\r\n", len(word), word)
	}
	return text
}

// readReply reads one reply and calls line with each of its lines.
func (r *respReader) readReply(line func([]byte)) error {
	first, err := r.readLine()
	if err != nil {
		return err
	}
	switch first[0] {
	case '+', ':':
		line(first[1:])
		return nil
	case '-':
		return (&redisError{string(first[1:])}).outcomeError()
	case '$':
		n, err := strconv.ParseUint(string(first[1:]), 10, 31)
		if err != nil {
			return &protocolError{errors.New("wrong length"), first}
		}
		if n > maxSkipped {
			return &protocolError{tooLargeError(maxSkipped), first}
		}
		return r.readBulk(int(n), line)
	}
	return &protocolError{errors.New("not a Redis reply"), first}
}

// readLine reads and consumes a line. The result is not empty and valid until the next read.
func (r *respReader) readLine() ([]byte, error) {
	var err error
	for more := 0; ; more = 1 { // bytes that have arrived are looked at first
		_, err = r.Peek(r.Buffered() + more)
		text, _ := r.Peek(min(r.Buffered(), maxLine))
		i := bytes.IndexByte(text, '\n')
		switch {
		case i >= 0:
			_, _ = r.Discard(i + 1)
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
		case err != nil:
			return nil, readError(err, text)
		}
	}
}

// readBulk reads and consumes n bytes and the line end after them.
func (r *respReader) readBulk(n int, line func([]byte)) error {
	n += len("\r\n")
	inLine := false // the beginning of the current line has been passed to line
	for n > 0 {
		text, err := r.Peek(min(n, maxLine))
		i := bytes.IndexByte(text, '\n')
		if err != nil && i < 0 {
			return readError(err, text)
		}
		if i >= 0 {
			text = text[:i+1]
		}
		if !inLine {
			line(bytes.TrimRight(text, "\r\n"))
		}
		inLine = i < 0
		n -= len(text)
		_, _ = r.Discard(len(text))
	}
	return nil
}

// readError returns the error of a read. Bytes received before it are part of it.
func readError(err error, got []byte) error {
	if errors.Is(err, io.EOF) {
		err = errClosed
	}
	if len(got) > 0 {
		return &protocolError{err, got}
	}
	return err
}
