package checks

import (
	"context"
	"io"
	"net"
	"regexp"
	"strings"
	"testing"
	"testing/iotest"
	"time"
	"unicode"

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

// fuzzReplies passes the same bytes to a reply parser at once and one by one. The parser may not panic, give a different
// result for a different segmentation, or return a long or unprintable text.
func fuzzReplies(f *testing.F, parse func(x *checkConn) (Report, error), seeds ...string) {
	for _, seed := range seeds {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, reply []byte) {
		whole, wholeErr := parse(connOf(reply, false))
		dripped, drippedErr := parse(connOf(reply, true))
		if (wholeErr == nil) != (drippedErr == nil) || wholeErr == nil && whole.Detail != dripped.Detail {
			t.Fatalf("%q, %v when whole; %q, %v when dripped", whole.Detail, wholeErr, dripped.Detail, drippedErr)
		}
		texts := []string{whole.Detail}
		if wholeErr != nil {
			texts = append(texts, wholeErr.Error())
		}
		for _, text := range texts {
			if len(text) > 8*maxQuote || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Fatalf("not fit to be shown: %q", text)
			}
		}
	})
}

func FuzzTCPReply(f *testing.F) {
	steps := []step{{send: []byte("x"), expect: []byte("valid")}, {regex: regexp.MustCompile(`^\s*(OK|up)`)}}
	fuzzReplies(f, func(x *checkConn) (Report, error) {
		r := &replyReader{from: x}
		for _, s := range steps {
			if err := s.run(x, r); err != nil {
				return Report{}, err
			}
		}
		return Report{}, nil
	}, "220 valid\r\n", "220 valid\r\nOK", "valid up", "vavalid\tOK", "\x00", "")
}

func FuzzHTTPReply(f *testing.F) {
	codes, err := ParseCodes("")
	if err != nil {
		f.Fatal(err)
	}
	fuzzReplies(f, func(x *checkConn) (Report, error) {
		o := HTTP{Expect: []byte("up")}
		return o.checkReply(x, Target{Address: "10.0.0.1:80"}, nil, codes)
	}, httpSeeds...)
}

var httpSeeds = []string{
	"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nup", "HTTP/1.0 503 No\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nup\r\n0\r\n\r\n",
	"HTTP/1.1 99999999 X\r\n\r\n", "HTTP/1.1 200 OK\r\nA", "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
	"HTTP/1.1 101 X\r\n\r\nvalid", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\n\r\nup 50%\n", "",
}

func FuzzAgentReply(f *testing.F) {
	fuzzReplies(f, func(x *checkConn) (Report, error) { return adviceReport(agentcheck.Query(x, []byte("x"))) },
		"up\n", "down #disk\r\n", "75%,maxconn:30,maint,down\n", "\n", "#", "upgrading\n", "up", "")
}

func FuzzAgentHTTPReply(f *testing.F) {
	codes, err := ParseCodes("2xx")
	if err != nil {
		f.Fatal(err)
	}
	fuzzReplies(f, func(x *checkConn) (Report, error) {
		return AgentHTTP{}.checkReply(x, Target{Address: "10.0.0.1:80"}, nil, codes)
	}, httpSeeds...)
}

func FuzzRedisReplies(f *testing.F) {
	info := bulkString("redis_version:7\r\nrole:slave\r\nmaster_link_status:up\r\nmaster_last_io_seconds_ago:1\r\nloading:0\r\n")
	fuzzReplies(f, func(x *checkConn) (Report, error) {
		return Redis{Role: "replica", MaxLag: time.Second}.checkInfo(x, newRESPReader(x))
	}, "+PONG\r\n"+info, "+PONG\r\n-NOPERM no\r\n", "+PONG\r\n$-1\r\n", "-ERR max number of clients reached\r\n", "+PONG\r\n"+bulkString("role:master\r\n")+"-ERR\r\n-ERR\r\n")
}

// muteServer is a mute with the methods of a connection that the end of a check calls.
type muteServer struct{ net.Conn }

func (muteServer) SetDeadline(time.Time) error { return nil }
func (muteServer) Close() error                { return nil }
func (muteServer) RemoteAddr() net.Addr        { return &net.TCPAddr{} }

func FuzzPgSQLReplies(f *testing.F) {
	login, err := newPgSQLLogin("u", "password", "", nil)
	if err != nil {
		f.Fatal(err)
	}
	state := pgRow("t", "on", "0.5", "t")
	fuzzReplies(f, func(x *checkConn) (Report, error) {
		m := muteServer{x.Conn}
		x.Conn, x.raw, x.stopWatch = m, m, func() {}
		return PgSQL{User: "u", Role: "replica", MaxLag: time.Second, Query: "SELECT 1"}.check(x, login, Target{Address: "10.0.0.1:5432"})
	}, pgReady+state+pgRows("1"), pgReady+state+pgRows(), pgAuth(5, "salt")+pgReady+state+pgRows("0"), pgAuth(10, "SCRAM-SHA-256\x00\x00"),
		pgError("53300", "full"), pgReady+pgRow("f", "off", "", "f"), pgReady+pgError("57P01", "bye"), pgMessage('N', "Mx\x00\x00")+pgReady, "S", "")
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
