package checks

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"

	"weir/internal/printable"
)

// maxReply is how many bytes of a server's reply a check keeps.
const maxReply = 64 << 10

// maxSkipped is how many bytes of a server's reply a check reads to find what it needs. Most of them are not kept.
const maxSkipped = 8 << 20

// maxQuote is the maximum length of a quotation from a reply, without its quotation marks.
const maxQuote = printable.MaxQuote

// replyReader buffers a server's reply. Matched bytes are consumed. The rest remains for the next step.
type replyReader struct {
	from   io.Reader
	buf    []byte
	unread int    // buf[unread:] is not matched yet
	total  int    // bytes read in all steps
	first  []byte // the beginning of buf[unread:], if it was discarded
}

// awaitText reads until want occurs in the unread bytes. It fails after limit bytes in all steps. Bytes that cannot be part
// of a match are discarded.
func (r *replyReader) awaitText(want []byte, limit int) error {
	window := max(maxReply, 2*len(want))
	seen := 0
	return r.await(strconv.Quote(clip(string(want))), window, limit, func(bool) int {
		// Of the part searched before, only the last len(want)-1 bytes can begin a match.
		from := max(r.unread, seen-len(want)+1)
		if i := bytes.Index(r.buf[from:], want); i >= 0 {
			return from + i + len(want)
		}
		if len(r.buf)-r.unread >= window && r.total < limit {
			r.discard(len(r.buf) - len(want) + 1)
		}
		seen = len(r.buf)
		return -1
	})
}

// awaitRegexp reads until want matches the unread bytes, of which there may be maxReply. It fails after limit bytes in all
// steps.
func (r *replyReader) awaitRegexp(want *regexp.Regexp, limit int) error {
	looked, spent := 0, 0
	return r.await("a match of "+strconv.Quote(clip(want.String())), maxReply, limit, func(last bool) int {
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
// is set if no more bytes will arrive. The unread bytes are limited by window, the bytes read in all steps by limit.
func (r *replyReader) await(want string, window, limit int, match func(last bool) int) error {
	r.discard(r.unread)
	r.first = nil
	if end := match(false); end >= 0 {
		r.unread = end
		return nil
	}
	for {
		err := r.read(window, limit)
		if end := match(err != nil); end >= 0 {
			r.unread = end
			return nil
		}
		if err != nil {
			return mismatch(err, want, r.received())
		}
	}
}

// received returns the beginning of what has arrived since the last match.
func (r *replyReader) received() []byte {
	if r.first != nil {
		return r.first
	}
	return r.buf[r.unread:]
}

// tooLargeError is the number of bytes that a reply exceeds.
type tooLargeError int

func (e tooLargeError) Error() string { return fmt.Sprintf("reply too large (over %d bytes)", int(e)) }

var errClosed = errors.New("connection closed by the server")

// read reads once, until there are at most window bytes in buf and limit bytes were read in all.
func (r *replyReader) read(window, limit int) error {
	room := min(window-len(r.buf), limit-r.total)
	switch {
	case r.total >= limit:
		return tooLargeError(limit)
	case room <= 0:
		return tooLargeError(window)
	}
	const step = 512
	if len(r.buf) == cap(r.buf) {
		r.buf = append(make([]byte, 0, len(r.buf)+min(max(step, len(r.buf)), room)), r.buf...)
	}
	n, err := r.from.Read(r.buf[len(r.buf):min(cap(r.buf), len(r.buf)+room)])
	r.buf = r.buf[:len(r.buf)+n]
	r.total += n
	if errors.Is(err, io.EOF) {
		return errClosed
	}
	return err
}

// discard drops the first n bytes of buf, and keeps the beginning of the unread ones among them for error messages.
func (r *replyReader) discard(n int) {
	if n == 0 {
		return
	}
	if r.first == nil && n > r.unread {
		r.first = bytes.Clone(r.buf[r.unread:min(n, r.unread+maxQuote+1)])
	}
	r.buf = append(r.buf[:0], r.buf[n:]...)
	r.unread = 0
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

// clipText makes text from outside fit for a report.
func clipText(s string) string { return printable.Clip(s, maxQuote) }
