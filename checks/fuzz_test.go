package checks

import (
	"context"
	"errors"
	"io"
	"net"
	"regexp"
	"testing"
	"testing/iotest"

	"weir/agentcheck"
)

// mute is a connection to a server that has sent everything and does not read.
type mute struct {
	net.Conn
	reply io.Reader
}

func (m *mute) Read(p []byte) (int, error)  { return m.reply.Read(p) }
func (m *mute) Write(p []byte) (int, error) { return len(p), nil }

func connOf(text []byte, dripping bool) *checkConn {
	reply := io.Reader(&reader{text})
	if dripping {
		reply = iotest.OneByteReader(reply)
	}
	return &checkConn{Conn: &mute{reply: reply}, ctx: context.Background()}
}

// reader reads text once, then ends.
type reader struct{ text []byte }

func (r *reader) Read(p []byte) (int, error) {
	if len(r.text) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.text)
	r.text = r.text[n:]
	return n, nil
}

// FuzzReplies passes the same bytes to every reply parser, at once and one by one. No parser may panic, quote more of a reply
// than allowed, or give a different result for a different segmentation.
func FuzzReplies(f *testing.F) {
	for _, seed := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nup", "HTTP/1.0 503 No\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nup\r\n0\r\n\r\n",
		"HTTP/1.1 99999999 X\r\n\r\n", "HTTP/1.1 200 OK\r\nA", "up\n", "+PONG\r\n", "220 valid\r\n", "\x00", "",
		"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n", "HTTP/1.1 101 X\r\n\r\nvalid",
	} {
		f.Add([]byte(seed))
	}
	steps := []step{{send: []byte("x"), expect: []byte("valid")}, {regex: regexp.MustCompile(`^\s*(OK|up)`)}}
	codes, err := ParseCodes("")
	if err != nil {
		f.Fatal(err)
	}
	parsers := map[string]func(x *checkConn) error{
		"tcp": func(x *checkConn) error {
			r := &replyReader{from: x}
			for _, s := range steps {
				if err := s.run(x, r); err != nil {
					return err
				}
			}
			return nil
		},
		"http": func(x *checkConn) error {
			response, err := HTTP{}.roundTrip(x, Target{Address: "10.0.0.1:80"}, nil)
			if err != nil {
				return err
			}
			if !codes.Match(response.code) {
				return errors.New("status")
			}
			return (&replyReader{from: response.body}).awaitText([]byte("up"))
		},
		"redis": func(x *checkConn) error {
			_, err := Redis{Role: "primary"}.checkInfo(x, newRESPReader(x))
			return err
		},
		"agent": func(x *checkConn) error {
			_, err := agentcheck.Query(x, nil)
			return err
		},
	}
	f.Fuzz(func(t *testing.T, reply []byte) {
		for name, parse := range parsers {
			whole, dripped := parse(connOf(reply, false)), parse(connOf(reply, true))
			if (whole == nil) != (dripped == nil) {
				t.Fatalf("%s: %v when whole, %v when dripped", name, whole, dripped)
			}
			if whole != nil && len(whole.Error()) > 8*maxQuote {
				t.Fatalf("%s: an error of %d bytes", name, len(whole.Error()))
			}
		}
	})
}

func FuzzCodes(f *testing.F) {
	for _, seed := range []string{"", DefaultCodes, "200,404", "abc", "2xx 40x", "x", "099"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, err := ParseCodes(s)
		if err != nil {
			return
		}
		again, err := ParseCodes(c.String())
		if err != nil {
			t.Fatal(err)
		}
		for code := range 1000 {
			if c.Match(code) != again.Match(code) {
				t.Fatalf("%q and %q differ in %d", s, c, code)
			}
		}
	})
}
