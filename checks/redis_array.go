package checks

import (
	"errors"
	"strconv"
)

// maxArrayDepth is how deep the arrays of a reply may be nested.
const maxArrayDepth = 3

// values reads one reply of at most limit bytes, which may be an array of arrays, and calls value with each text in it: its place, such as [3 0]
// for the first text of the fourth array, and its first maxLine bytes; nil for a null. The place of a reply that is no
// array is empty. Both arguments are valid during the call. The errors are those of command. After any error but a
// *redisError, the place of the next reply is unknown.
func (r *respReader) values(limit int, value func(place []int, text []byte)) error {
	left := limit
	err := r.readValue(make([]int, 0, maxArrayDepth), &left, value)
	if left < 0 {
		err = tooLargeError(limit)
	}
	return err
}

var errReplyTooLarge = errors.New("reply too large")

func (r *respReader) readValue(place []int, left *int, value func([]int, []byte)) error {
	first, err := r.readLine()
	if err != nil {
		return err
	}
	kind, rest := first[0], first[1:]
	n := 0
	if kind == '$' || kind == '*' {
		if string(rest) == "-1" {
			value(place, nil)
			return nil
		}
		size, err := strconv.ParseUint(string(rest), 10, 31)
		if err != nil {
			return &protocolError{errors.New("wrong length"), first}
		}
		n = int(size)
	}
	*left -= len(first) + len("\r\n")
	if kind == '$' {
		*left -= n
	}
	if *left < 0 {
		return errReplyTooLarge
	}
	switch {
	case kind == '+' || kind == ':':
		value(place, rest)
		return nil
	case kind == '$':
		return r.readText(n, func(text []byte) { value(place, text) })
	case kind == '*' && len(place) == maxArrayDepth:
		return &protocolError{errors.New("arrays nested too deeply"), first}
	case kind == '*':
		for i := range n {
			if err := r.readValue(append(place, i), left, value); err != nil {
				return err
			}
		}
		return nil
	case kind == '-' && len(place) == 0:
		return (&redisError{string(rest)}).outcomeError()
	case kind == '-':
		return &protocolError{errors.New("error within an array"), first}
	}
	return &protocolError{errors.New("not a Redis reply"), first}
}

// readText reads and consumes n bytes and the line end after them, and calls text with up to maxLine of them.
func (r *respReader) readText(n int, text func([]byte)) error {
	kept, err := r.Peek(min(n, maxLine))
	if err != nil {
		return readError(err, kept)
	}
	text(kept)
	if _, err := r.Discard(n); err != nil {
		return readError(err, nil)
	}
	end, err := r.Peek(len("\r\n"))
	if err != nil {
		return readError(err, end)
	}
	if string(end) != "\r\n" {
		return &protocolError{errors.New("wrong length"), end}
	}
	_, _ = r.Discard(len(end))
	return nil
}
