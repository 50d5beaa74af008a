package clienthello

import "errors"

// The errors of Parse.
var (
	ErrIncomplete = errors.New("the ClientHello is incomplete")
	ErrNotHello   = errors.New("the bytes cannot be a ClientHello")
	ErrTooLong    = errors.New("the ClientHello is too long")
)

const (
	// MaxSize limits the handshake message, with its own header of four bytes and without the headers of records.
	MaxSize = 16 << 10
	// MaxStream limits the bytes of the stream that it takes: a message of MaxSize bytes in 1,600 records.
	MaxStream = MaxSize + 8<<10

	recordHeader    = 5
	messageHeader   = 4
	maxRecord       = 16 << 10 // RFC 8446, 5.1
	typeHandshake   = 22
	typeClientHello = 1
	minBody         = 2 + 32 + 1 + 4 + 2 // version, random, no session id, one cipher suite, one compression method
	maxSessionID    = 32
	maxName         = 255
)

// The types of the extensions that are read.
const (
	extensionServerName = 0
	extensionALPN       = 16
)

// Hello is what a ClientHello asks for. It points into the bytes that Parse was given.
type Hello struct {
	ServerName []byte // in lower case, without a final dot; empty = none
	protocols  []byte // the list of ALPN: each with its length before it
}

// Parse reads the ClientHello at the start of a stream, whose first bytes are in b. It may be split over records. Parse
// overwrites b. With ErrIncomplete, the message is complete at the earliest when the stream has need bytes.
func Parse(b []byte) (h Hello, need int, err error) {
	size, need, err := measure(b[:min(len(b), MaxStream)])
	if err == ErrIncomplete && need > MaxStream {
		return Hello{}, 0, ErrTooLong
	}
	if err != nil {
		return Hello{}, need, err
	}
	h, ok := parseBody(join(b, size)[messageHeader:])
	if !ok {
		return Hello{}, 0, ErrNotHello
	}
	return h, 0, nil
}

// measure returns the size of the message, if all of it is in b.
func measure(b []byte) (size, need int, err error) {
	var head [messageHeader]byte // of the message
	have := 0                    // bytes of the message
	for at := 0; ; {
		length, ok := recordLength(b[at:])
		if !ok {
			return 0, 0, ErrNotHello
		}
		if length == 0 { // the header is incomplete
			return 0, max(at+recordHeader+1, len(b)+1, at+wireSize(size-have)), ErrIncomplete
		}
		at += recordHeader
		part := b[at:min(at+length, len(b))]
		if have < messageHeader {
			n := copy(head[have:], part)
			if have+n > 0 && head[0] != typeClientHello {
				return 0, 0, ErrNotHello
			}
			if have+n == messageHeader && size == 0 {
				size = messageHeader + int(head[1])<<16 + int(head[2])<<8 + int(head[3])
				switch {
				case size < messageHeader+minBody:
					return 0, 0, ErrNotHello
				case size > MaxSize:
					return 0, 0, ErrTooLong
				}
			}
		}
		have += len(part)
		if size > 0 && have >= size {
			return size, 0, nil
		}
		if len(part) < length {
			missing := length - len(part) // of the record
			if size > 0 {
				missing = min(missing, size-have) + wireSize(size-have-missing)
			} else { // the record may be longer than the message, whose size is not known yet
				missing = min(missing, messageHeader-have)
			}
			return 0, max(len(b)+1, min(len(b)+missing, len(b)+maxRecord)), ErrIncomplete
		}
		at += length
	}
}

// wireSize returns the least bytes of a stream that carry n bytes of a message in further records.
func wireSize(n int) int {
	if n <= 0 {
		return 0
	}
	return n + recordHeader*((n+maxRecord-1)/maxRecord)
}

// recordLength returns the length of the record whose header b begins with; 0 if the header is incomplete. It reports
// false as soon as the bytes cannot be the header of a handshake record.
func recordLength(b []byte) (length int, ok bool) {
	switch {
	case len(b) > 0 && b[0] != typeHandshake, len(b) > 1 && b[1] != 3:
		return 0, false
	case len(b) < recordHeader:
		return 0, true
	}
	length = int(b[3])<<8 | int(b[4])
	return length, length > 0 && length <= maxRecord
}

// join moves the first size bytes of the message together, over the headers of records, and returns them.
func join(b []byte, size int) []byte {
	at, have := 0, 0
	for have < size {
		length, _ := recordLength(b[at:])
		at += recordHeader
		have += copy(b[have:size], b[at:min(at+length, len(b))])
		at += length
	}
	return b[:size]
}

// fields reads fields from the front of bytes. A field that is longer than the rest makes it fail.
type fields struct {
	rest   []byte
	failed bool
}

// take returns the next n bytes.
func (f *fields) take(n int) []byte {
	if n > len(f.rest) {
		f.failed, f.rest = true, nil
		return nil
	}
	b := f.rest[:n:n]
	f.rest = f.rest[n:]
	return b
}

// number returns a number of the given size in bytes.
func (f *fields) number(size int) (n int) {
	for _, c := range f.take(size) {
		n = n<<8 | int(c)
	}
	return n
}

// vector returns bytes that have their length before them, a number of the given size in bytes.
func (f *fields) vector(size int) []byte { return f.take(f.number(size)) }

// parseBody parses a ClientHello without its message header. It reports false if the body is malformed.
func parseBody(b []byte) (h Hello, ok bool) {
	f := fields{rest: b}
	if f.number(1) != 3 { // the major version, which never changes
		return h, false
	}
	f.take(1 + 32) // minor version, random
	session, ciphers, compression := f.vector(1), f.vector(2), f.vector(1)
	if f.failed || len(session) > maxSessionID || len(ciphers) < 2 || len(ciphers)%2 != 0 || len(compression) == 0 {
		return h, false
	}
	if len(f.rest) == 0 { // no extensions
		return h, true
	}
	extensions := fields{rest: f.vector(2)}
	if f.failed || len(f.rest) > 0 {
		return h, false
	}
	names, protocols := false, false
	for len(extensions.rest) > 0 {
		typ, data := extensions.number(2), fields{rest: extensions.vector(2)}
		if extensions.failed {
			return h, false
		}
		switch typ {
		case extensionServerName:
			if names || !h.parseNames(data) {
				return h, false
			}
			names = true
		case extensionALPN:
			if protocols || !h.parseProtocols(data) {
				return h, false
			}
			protocols = true
		}
	}
	return h, true
}

// parseNames parses the extension with the server name (RFC 6066, 3).
func (h *Hello) parseNames(f fields) bool {
	list := fields{rest: f.vector(2)}
	if f.failed || len(f.rest) > 0 {
		return false
	}
	for len(list.rest) > 0 {
		isHost := list.number(1) == 0
		name := list.vector(2)
		if list.failed {
			return false
		}
		if isHost && h.ServerName == nil {
			h.ServerName = hostName(name)
		}
	}
	return true
}

// hostName returns a name in lower case and without its final dot, or nothing if it cannot be the name of a host. It
// overwrites the name.
func hostName(name []byte) []byte {
	if len(name) > maxName {
		return nil
	}
	for i, c := range name {
		switch {
		case c <= ' ' || c > '~':
			return nil
		case 'A' <= c && c <= 'Z':
			name[i] = c + ('a' - 'A')
		}
	}
	if n := len(name); n > 0 && name[n-1] == '.' {
		name = name[:n-1]
	}
	return name
}

// parseProtocols parses the extension with the protocols (RFC 7301, 3.1).
func (h *Hello) parseProtocols(f fields) bool {
	list := f.vector(2)
	if f.failed || len(f.rest) > 0 {
		return false
	}
	for each := (fields{rest: list}); len(each.rest) > 0; {
		if each.vector(1); each.failed {
			return false
		}
	}
	h.protocols = list
	return true
}

// Offers reports whether the client offers a protocol.
func (h *Hello) Offers(protocol string) bool {
	for f := (fields{rest: h.protocols}); len(f.rest) > 0; {
		if string(f.vector(1)) == protocol {
			return true
		}
	}
	return false
}
