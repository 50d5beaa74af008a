package checks

import (
	"bufio"
	"errors"
	"io"
	"net/http/httputil"
	"strconv"
	"strings"
)

// httpReply is the head of a reply to an HTTP check: the first status line, and what the header lines after it say about
// where the body ends. Nothing else in them matters to a check, so nothing else in them can be wrong.
type httpReply struct {
	code      int
	status    string // code and reason
	body      io.Reader
	delimited bool // the reply says where its body ends; else the connection's end does
}

var errNoHTTP = errors.New("not an HTTP reply")

// readHTTP reads a reply to a request with a method up to its body. Who limits what is read is from.
func readHTTP(from io.Reader, method string) (*httpReply, error) {
	lines := bufio.NewReaderSize(from, 4096)
	line, err := readLine(lines)
	if err != nil {
		return nil, err
	}
	r := &httpReply{}
	if !r.parseStatusLine(line) {
		return nil, errNoHTTP
	}
	length, chunked := int64(-1), false
	for {
		if line, err = readLine(lines); err != nil {
			return nil, err
		}
		if line == "" {
			break
		}
		name, value, _ := strings.Cut(line, ":")
		switch value = strings.TrimSpace(value); {
		case strings.EqualFold(name, "Content-Length"):
			if n, err := strconv.ParseInt(value, 10, 64); err == nil && n >= 0 {
				length = n
			}
		case strings.EqualFold(name, "Transfer-Encoding"):
			last := value[strings.LastIndexByte(value, ',')+1:]
			chunked = strings.EqualFold(strings.TrimSpace(last), "chunked")
		}
	}
	if method == "HEAD" || r.code < 200 || r.code == 204 || r.code == 304 {
		length, chunked = 0, false // RFC 9112, section 6.3
	}
	switch r.delimited = chunked || length >= 0; {
	case chunked:
		r.body = httputil.NewChunkedReader(lines)
	case length >= 0:
		r.body = &fixedLengthReader{lines, length}
	default:
		r.body = lines
	}
	return r, nil
}

// fixedLengthReader reads a body of a length that the reply has told.
type fixedLengthReader struct {
	from io.Reader
	left int64
}

func (s *fixedLengthReader) Read(p []byte) (int, error) {
	if s.left == 0 {
		return 0, io.EOF
	}
	n, err := s.from.Read(p[:min(int64(len(p)), s.left)])
	if s.left -= int64(n); s.left > 0 && errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// parseStatusLine takes the status line.
func (r *httpReply) parseStatusLine(line string) bool {
	version, rest, ok := strings.Cut(line, " ")
	digits, http := strings.CutPrefix(version, "HTTP/")
	major, minor, dotted := strings.Cut(digits, ".")
	rest = strings.TrimLeft(rest, " ")
	code, reason, _ := strings.Cut(rest, " ")
	if !ok || !http || !isDigits(major) || dotted && !isDigits(minor) || len(code) != 3 || !isDigits(code) {
		return false
	}
	r.code, _ = strconv.Atoi(code)
	r.status = strings.TrimSpace(code + " " + reason)
	return true
}

// isDigits reports whether there are digits and nothing else.
func isDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// readLine reads a line without its end.
func readLine(r *bufio.Reader) (string, error) {
	line, err := r.ReadString('\n')
	return strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r"), err
}
