package checks

import (
	"bufio"
	"errors"
	"io"
	"net/http/httputil"
	"strconv"
	"strings"
)

// httpReply is the head of an HTTP reply: the status line and the end of the body as given by the header lines. Other
// header lines are ignored.
type httpReply struct {
	code      int
	status    string // code and reason
	body      io.Reader
	delimited bool // the head gives the end of the body; else the connection ends it
}

var errNoHTTP = errors.New("not an HTTP reply")

// readHTTP reads a reply up to its body, after interim replies (RFC 9110, section 15.2). method is that of the request.
// The caller limits what is read from from.
func readHTTP(from io.Reader, method string) (*httpReply, error) {
	lines := bufio.NewReaderSize(from, 4096)
	for {
		r, err := readHead(lines, method)
		if err != nil || r.code < 100 || r.code > 199 || r.code == 101 {
			return r, err
		}
	}
}

// readHead reads a status line and header lines.
func readHead(lines *bufio.Reader, method string) (*httpReply, error) {
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

// fixedLengthReader reads a body with a Content-Length.
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

// parseStatusLine parses the status line and reports whether it is valid.
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

// isDigits reports whether s consists of one or more digits.
func isDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// readLine reads a line and returns it without its line end. Of a line that does not fit into r's buffer, the beginning is
// returned.
func readLine(r *bufio.Reader) (string, error) {
	part, err := r.ReadSlice('\n')
	line := string(part)
	for errors.Is(err, bufio.ErrBufferFull) {
		_, err = r.ReadSlice('\n')
	}
	return strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r"), err
}
