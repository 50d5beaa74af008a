package checks

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxReply is how many bytes of a server's reply a check reads in all its steps.
const maxReply = 64 << 10

// maxQuote is the maximum length of a quotation from a reply, without its quotation marks.
const maxQuote = 120

// replyReader buffers a server's reply. Matched bytes are consumed. The rest remains for the next step.
type replyReader struct {
	from   io.Reader
	buf    []byte
	unread int // buf[unread:] is not matched yet
}

// awaitText reads until want occurs in the unread bytes.
func (r *replyReader) awaitText(want []byte) error {
	seen := r.unread
	return r.await(strconv.Quote(clip(string(want))), func(bool) int {
		// Of the part searched before, only the last len(want)-1 bytes can begin a match.
		from := max(r.unread, seen-len(want)+1)
		seen = len(r.buf)
		if i := bytes.Index(r.buf[from:], want); i >= 0 {
			return from + i + len(want)
		}
		return -1
	})
}

// awaitRegexp reads until want matches the unread bytes.
func (r *replyReader) awaitRegexp(want *regexp.Regexp) error {
	looked, spent := 0, 0
	return r.await("a match of "+strconv.Quote(clip(want.String())), func(last bool) int {
		text := r.buf[r.unread:]
		// A long reply that arrives in small pieces is not searched after every piece.
		if !last && spent > 4<<20 && len(text) < looked+looked/8 {
			return -1
		}
		looked = len(text)
		spent += looked
		if m := want.FindIndex(text); m != nil {
			return r.unread + m[1]
		}
		return -1
	})
}

// await reads until match returns the end of a match in buf; -1 means not yet. match is called after every read. last
// is set if no more bytes will arrive.
func (r *replyReader) await(want string, match func(last bool) int) error {
	if end := match(false); end >= 0 {
		r.unread = end
		return nil
	}
	for {
		var err error
		if len(r.buf) == maxReply {
			err = errTooLarge
		} else {
			err = r.read()
		}
		if end := match(err != nil); end >= 0 {
			r.unread = end
			return nil
		}
		if err != nil {
			return mismatch(err, want, r.buf[r.unread:])
		}
	}
}

var (
	errTooLarge = fmt.Errorf("reply too large (over %d bytes)", maxReply)
	errClosed   = errors.New("connection closed by the server")
)

// read reads once, up to the limit of buf.
func (r *replyReader) read() error {
	const step = 512
	if room := min(max(step, len(r.buf)), maxReply-len(r.buf)); cap(r.buf)-len(r.buf) == 0 {
		r.buf = append(make([]byte, 0, len(r.buf)+room), r.buf...)
	}
	n, err := r.from.Read(r.buf[len(r.buf):cap(r.buf)])
	r.buf = r.buf[:len(r.buf)+n]
	if errors.Is(err, io.EOF) {
		return errClosed
	}
	return err
}

// mismatch returns an error with the cause, what was expected and what was received.
func mismatch(why error, want string, got []byte) error {
	return fmt.Errorf("%w: expected %s, got %s", why, want, quote(got))
}

// quote quotes the beginning of a reply for an error message.
func quote(b []byte) string {
	if len(b) == 0 {
		return "nothing"
	}
	short := clip(string(b[:min(len(b), maxQuote)]))
	if len(short) < len(b) {
		return strconv.Quote(short) + "…"
	}
	return strconv.Quote(short)
}

// clip returns a prefix of s whose quotation fits into maxQuote.
func clip(s string) string {
	s = s[:min(len(s), maxQuote)]
	for len(strconv.Quote(s))-2 > maxQuote {
		s = s[:len(s)-max(1, (len(strconv.Quote(s))-2-maxQuote)/4)]
	}
	return s
}

// printable replaces characters that must not reach a log or a terminal, and shortens long text.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
	if len(s) > maxQuote {
		return strings.ToValidUTF8(s[:maxQuote], "") + "…"
	}
	return s
}
