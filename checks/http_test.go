package checks

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
)

func TestCodes(t *testing.T) {
	c, err := ParseCodes("")
	require.NoError(t, err)
	for _, good := range []int{101, 102, 200, 299, 301, 399} {
		require.True(t, c.Match(good), good)
	}
	for _, bad := range []int{100, 103, 404, 500, 0, -1, 1200} {
		require.False(t, c.Match(bad), bad)
	}
	c, err = ParseCodes("200,404 50X,\t2xx")
	require.NoError(t, err)
	require.Equal(t, "200 404 50x 2xx", c.String())
	for code, want := range map[int]bool{200: true, 299: true, 404: true, 405: false, 509: true, 510: false} {
		require.Equal(t, want, c.Match(code), code)
	}
	for _, bad := range []string{"abc", "20", "2000", "2x0", "xxx", "099", "200;300", " ,"} {
		_, err := ParseCodes(bad)
		require.Error(t, err, bad)
	}
}

// status is a host that answers every request with a status line and a body.
func status(line, body string) nettest.Handler {
	return runScript([2]string{"\r\n\r\n", fmt.Sprintf("%s\r\nContent-Length: %d\r\n\r\n%s", line, len(body), body)})
}

func TestHTTPStatus(t *testing.T) {
	for line, want := range map[string]string{
		"HTTP/1.1 200 OK":                              "",
		"HTTP/1.1 204 No Content":                      "",
		"HTTP/1.1 301 Moved":                           "",
		"HTTP/1.1 101 Switching":                       "",
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK": "",
		"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 204 No Content": "",
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 500 No":                                                         `status: expected 101 102 2xx 3xx, got "500 No"`,
		"HTTP/1.1 100 Continue\r\n\r\n220 ready":                                                               `not an HTTP reply: expected an HTTP status line and headers, got "HTTP/1.1 100 Continue`,
		"HTTP/1.0 200 OK":                                                                                      "",
		"HTTP/1.1 200":                                                                                         "",
		"HTTP/1.1 404 Not Found":                                                                               `status: expected 101 102 2xx 3xx, got "404 Not Found"`,
		"HTTP/1.1 503 Service Unavailable":                                                                     `status: expected 101 102 2xx 3xx, got "503 Service Unavailable"`,
		"HTTP/1.1 100 Continue":                                                                                `connection closed by the server: expected an HTTP status line and headers, got "HTTP/1.1 100 Continue`,
		"<html>0.9</html>":                                                                                     `not an HTTP reply: expected an HTTP status line and headers, got "<html>0.9</html>`,
		"HTTP/1.1 2OO OK":                                                                                      "not an HTTP reply",
	} {
		h := nettest.Start(t, status(line, ""))
		report, err := runCheck(t, HTTP{}, h.Addr())
		if want == "" {
			require.NoError(t, err, line)
			require.NotEmpty(t, report.Detail)
		} else {
			require.ErrorContains(t, err, want)
		}
	}
}

func TestHTTPRequest(t *testing.T) {
	var h received
	host := nettest.Start(t, recordScript(&h, [2]string{"ping", "HTTP/1.1 200 OK\r\n\r\n"}))
	_, err := checkWithin(t, HTTP{
		Method: "POST", Path: "/health?x=1", Body: []byte("ping"),
		Headers: [][2]string{{"X-Check", "yes, it is"}, {"user-agent", "me"}},
	}, Target{Address: host.Addr(), Host: "redis.example"}, time.Second)
	require.NoError(t, err)
	_, port, _ := net.SplitHostPort(host.Addr())
	require.Equal(t, "POST /health?x=1 HTTP/1.1\r\nHost: redis.example:"+port+"\r\nAccept: */*\r\nConnection: close\r\n"+
		"Content-Length: 4\r\nX-Check: yes, it is\r\nuser-agent: me\r\n\r\nping", h.String())
}

// Header values are in no report, even if the server repeats them and a quotation is cut within one.
func TestHTTPHeaderValuesAreRedacted(t *testing.T) {
	request := func(answer string) nettest.Handler {
		return func(_ context.Context, c *net.TCPConn) {
			_, _ = c.Read(make([]byte, 4096))
			_, _ = c.Write([]byte(answer))
		}
	}
	for n := range 60 {
		o := HTTP{Headers: [][2]string{{"Authorization", "Bearer s3cr3t"}}, Path: "/" + strings.Repeat("x", n)}
		h := nettest.Start(t, nettest.Echo)
		_, err := runCheck(t, o, h.Addr())
		require.ErrorContains(t, err, "not an HTTP reply")
		require.NotContains(t, err.Error(), "s3cr")
		_, err = runCheck(t, AgentHTTP{o}, h.Addr())
		require.ErrorContains(t, err, "not an HTTP reply")
		require.NotContains(t, err.Error(), "s3cr")

		o.Expect = []byte("fine")
		_, err = runCheck(t, o, nettest.Start(t, request("HTTP/1.0 200 OK\r\n\r\n"+strings.Repeat("x", n+60)+"you are \"s3cr3t\"!")).Addr())
		require.ErrorContains(t, err, "expected \"fine\"")
		require.NotContains(t, err.Error(), "s3cr")
	}
	report, err := runCheck(t, HTTP{Headers: [][2]string{{"X", "s3cr3t"}}}, nettest.Start(t, request("HTTP/1.0 200 s3cr3t is right\r\n\r\n")).Addr())
	require.NoError(t, err)
	require.Equal(t, "200 *** is right", report.Detail)
}

func TestHTTPAuthority(t *testing.T) {
	for _, c := range []struct {
		target  Target
		secured bool
		want    string
	}{
		{Target{Address: "10.0.0.1:80"}, false, "10.0.0.1"},
		{Target{Address: "10.0.0.1:443"}, true, "10.0.0.1"},
		{Target{Address: "10.0.0.1:80"}, true, "10.0.0.1:80"},
		{Target{Address: "[fe80::1%eth0]:8080"}, false, "[fe80::1]:8080"},
		{Target{Address: "/run/s.sock", Network: "unix"}, false, "localhost"},
	} {
		require.Equal(t, c.want, c.target.authority(c.secured))
	}
}

func TestHTTPRedirectsAreNotFollowed(t *testing.T) {
	other := nettest.Start(t, nettest.Silent)
	h := nettest.Start(t, runScript([2]string{"\r\n\r\n", "HTTP/1.1 301 Moved\r\nLocation: http://" + other.Addr() + "/\r\n\r\n"}))
	_, err := runCheck(t, HTTP{}, h.Addr())
	require.NoError(t, err)
	require.Zero(t, other.Accepted())
}

func TestHTTPBody(t *testing.T) {
	for _, c := range []struct {
		name string
		host nettest.Handler
		want string
	}{
		{"there", status("HTTP/1.1 200 OK", "all is well"), ""},
		{"not there", status("HTTP/1.1 200 OK", "all is lost"), `connection closed by the server: expected "well", got "all is lost"`},
		{"chunked", runScript([2]string{"\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nwe\r\n2\r\nll\r\n"}), ""},
		{"until the end", runScript([2]string{"\r\n\r\n", "HTTP/1.0 200 OK\r\n\r\nwe are well"}), ""},
		{"endless", runScript([2]string{"\r\n\r\n", "HTTP/1.0 200 OK\r\n\r\n" + strings.Repeat("we", 100000)}), "reply too large"},
		{"compressed", func(_ context.Context, c *net.TCPConn) {
			_, _ = c.Read(make([]byte, 4096))
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n"+strings.Repeat("\x1f\x8b", 1<<20))
		}, "reply too large"},
		{"silent", runScript([2]string{"\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nwe"}, [2]string{"never", ""}), `timed out: expected "well", got "we"`},
		{"cut short", runScript([2]string{"\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nwe"}), `expected "well", got "we"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := nettest.Start(t, c.host)
			_, err := checkWithin(t, HTTP{Expect: []byte("well")}, Target{Address: h.Addr()}, limitFor(c.want))
			if c.want == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, c.want)
			}
		})
	}
}

// Only the status line decides. Header lines matter for the body alone.
func TestHTTPUnusualReplies(t *testing.T) {
	for _, reply := range []string{
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\nno colon\r\n: no name\r\nX: \x00\r\n\r\nwell",
		"HTTP/1.1 200\r\nContent-Length: 4\r\nContent-Length: four\r\n\r\nwell and more",
		"HTTP/1.0  200  OK\nX: a\n b\n\nwell",
		"HTTP/2 200 \r\nTransfer-Encoding: gzip, Chunked\r\nContent-Length: 1\r\n\r\n2\r\nwe\r\n2\r\nll\r\n0\r\n\r\n",
	} {
		h := nettest.Start(t, runScript([2]string{"\r\n\r\n", reply}))
		report, err := runCheck(t, HTTP{Codes: "200", Expect: []byte("well")}, h.Addr())
		require.NoError(t, err, reply)
		require.Regexp(t, "^200( +OK)?$", report.Detail)
	}
	for _, line := range []string{"HTTP/1.1", "HTTP/1.1 20 OK", "HTTP/1.1 2000 OK", "HTTP/1.1 2x0 OK", "HTTP/x 200 OK", "ICY 200 OK", "http/1.1 200 OK", ""} {
		h := nettest.Start(t, runScript([2]string{"\r\n\r\n", line + "\r\n\r\n"}))
		_, err := runCheck(t, HTTP{}, h.Addr())
		require.ErrorContains(t, err, "not an HTTP reply: expected an HTTP status line and headers", line)
	}
	for _, c := range []struct{ head, body string }{{"204 None", "Content-Length: 4\r\n"}, {"304 Same", ""}, {"101 Switching", ""}} {
		h := nettest.Start(t, runScript([2]string{"\r\n\r\n", "HTTP/1.1 " + c.head + "\r\n" + c.body + "\r\nwell"}))
		_, err := runCheck(t, HTTP{Expect: []byte("well")}, h.Addr())
		require.ErrorContains(t, err, `expected "well", got nothing`, c.head)
	}
}

// Headers may be long; the few that matter are found among them.
func TestHTTPWithLargeHeadersPasses(t *testing.T) {
	large := "X: " + strings.Repeat("y", 200_000) + "\r\n" + strings.Repeat("Set-Cookie: a=b\r\n", 10_000)
	h := nettest.Start(t, runScript([2]string{"\r\n\r\n", "HTTP/1.1 200 OK\r\n" + large + "Content-Length: 4\r\n\r\nwell and more"}))
	_, err := runCheck(t, HTTP{Expect: []byte("well")}, h.Addr())
	require.NoError(t, err)
	_, err = runCheck(t, HTTP{Expect: []byte("more")}, h.Addr())
	require.ErrorContains(t, err, `expected "more", got "well"`)
}

func TestHTTPHostileServers(t *testing.T) {
	for _, c := range []struct {
		name string
		host nettest.Handler
		want string
	}{
		{"silent", nettest.Silent, "timed out: expected an HTTP status line and headers, got nothing"},
		{"closes", runScript([2]string{"\r\n\r\n", ""}), "connection closed by the server: expected an HTTP status line"},
		{"closes in the middle", runScript([2]string{"\r\n\r\n", "HTTP/1.1 200"}), `connection closed by the server: expected an HTTP status line and headers, got "HTTP/1.1 200"`},
		{"endless headers", sendEndless("HTTP/1.1 200 OK\r\n", "A: b\r\n"), "reply too large (over 8388608 bytes): expected an HTTP status line and headers, got \"HTTP/1.1 200 OK"},
		{"one endless header", sendEndless("HTTP/1.1 200 OK\r\nX: ", "a"), "reply too large"},
		{"endless status line", sendEndless("HTTP/1.1 200 ", "a"), "reply too large"},
		{"garbage", sendEndless("", "\x00\xff"), "got \"\\x00\\xff"},
		{"dripping", nettest.Trickle(100, 50*time.Millisecond), "timed out"},
		{"another protocol", nettest.SendText("-ERR unknown command\r\n\r\n"), `not an HTTP reply: expected an HTTP status line and headers, got "-ERR unknown command`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := nettest.Start(t, c.host)
			began := time.Now()
			_, err := checkWithin(t, HTTP{}, Target{Address: h.Addr()}, limitFor(c.want))
			require.ErrorContains(t, err, c.want)
			require.Less(t, nettest.Elapsed(began), 5*time.Second)
		})
	}
}

func TestHTTPVerdictComesWithTheHeaders(t *testing.T) {
	for name, host := range map[string]nettest.Handler{
		"body without end":      sendEndless("HTTP/1.1 200 OK\r\n\r\n", "x"),
		"connection kept open":  sendThenSilent("HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n\r\n"),
		"before the request is": sendPieces(0, "HTTP/1.1 200 OK\r\n\r\n"),
	} {
		h := nettest.Start(t, host)
		_, err := runCheck(t, HTTP{Method: "POST", Body: make([]byte, 1<<20)}, h.Addr())
		require.NoError(t, err, name)
		nettest.Wait(t, 5*time.Second, "the check to close", func() bool { return h.Open() == 0 })
	}
}

func TestHTTPAgainstTheStandardLibrary(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "well") })
	mux.HandleFunc("GET /old", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/", http.StatusFound) })
	s := httptest.NewServer(mux)
	defer s.Close()
	address := s.Listener.Addr().String()
	for _, o := range []HTTP{{Expect: []byte("well")}, {Path: "/old", Codes: "302"}, {Path: "/nowhere", Codes: "404"}, {Method: "HEAD"}} {
		_, err := runCheck(t, o, address)
		require.NoError(t, err)
	}
	_, err := runCheck(t, HTTP{Path: "/nowhere"}, address)
	require.ErrorContains(t, err, "404 Not Found")
}

func TestHTTPInvalidOptionsAreRejected(t *testing.T) {
	for want, o := range map[string]HTTP{
		"path:":         {Path: "/a b"},
		"method:":       {Method: "GET\r\nX: y"},
		"host:":         {Host: "a\nb"},
		"headers:":      {Headers: [][2]string{{"X", "secret\r\nY: z"}}},
		"status codes:": {Codes: "abc"},
		"tls_ca_file:":  {TLS: &TLS{CAFile: "/nowhere"}},
	} {
		_, err := o.Monitor()
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "secret")
	}
}
