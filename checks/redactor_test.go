package checks

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"weir/agentcheck"
	"weir/conf"
	"weir/internal/nettest"
)

const sentToken = "tok-7f3a9c51e0b84d22"

// echo answers with a text around what it has received.
func echo(before, after string) nettest.Handler {
	return func(_ context.Context, c *net.TCPConn) {
		buf := make([]byte, 4096)
		n, _ := c.Read(buf)
		_, _ = io.WriteString(c, before+string(buf[:n])+after)
	}
}

// A server that repeats what a check has sent does not make it public, whichever option held it.
func TestServerThatEchoesTheCheck(t *testing.T) {
	steps := []conf.Step{{Send: []byte("check " + sentToken + "\n"), Expect: []byte("+OK")}}
	for name, monitor := range map[string]builder{
		"send":              TCP{Steps: steps},
		"path":              HTTP{Path: "/h?key=" + sentToken},
		"body":              HTTP{Method: "POST", Path: "/", Body: []byte(`{"key":"` + sentToken + `"}`)},
		"header":            HTTP{Headers: [][2]string{{"X-Key", "a " + sentToken}}},
		"agent send":        Agent{Send: []byte("state " + sentToken + "\n")},
		"agent_http body":   AgentHTTP{HTTP{Method: "POST", Body: []byte(sentToken)}},
		"agent_http path":   AgentHTTP{HTTP{Path: "/" + sentToken}},
		"agent_http header": AgentHTTP{HTTP{Headers: [][2]string{{"X-Key", sentToken}}}},
		"redis password":    Redis{User: "ann", Password: Secret{Value: sentToken}},
	} {
		for _, reply := range []string{"", "-ERR ", "up #", "HTTP/1.1 500 ", "HTTP/1.1 200 OK\r\n\r\n"} {
			h := nettest.Start(t, echo(reply, "\r\n"))
			report, err := runCheck(t, monitor, h.Addr())
			text := report.Detail
			if err != nil {
				text += err.Error()
			}
			if report.Advice != nil {
				text += report.Advice.Text + report.Advice.Unknown
			}
			require.NotContains(t, text, sentToken[:10], "%s after %q", name, reply)
			require.NotContains(t, text, sentToken[len(sentToken)-10:], "%s after %q", name, reply)
		}
	}
	at := startUDPServer(t, func(_ netip.AddrPort, request string) []string { return []string{request} })
	_, err := checkWithin(t, UDP{Steps: steps}, Target{Address: at}, 300*time.Millisecond)
	require.ErrorContains(t, err, mask)
	require.NotContains(t, err.Error(), sentToken[:10])
}

// Parts and encodings of what was sent are masked too; what the server says itself is not.
func TestRedactorMasksPartsAndEncodings(t *testing.T) {
	sent := "GET /health?key=" + sentToken + "&x=ä%20b HTTP/1.1\r\nHost: db1\r\n\r\n"
	quoted, err := json.Marshal(sent)
	require.NoError(t, err)
	r := NewRedactor(nil, sent)
	for _, text := range []string{
		sent, sentToken, sentToken[:12], sentToken[5:], string(quoted), url.QueryEscape(sent),
		hex.EncodeToString([]byte(sent)), strings.Join(strings.Split(sentToken, ""), "."),
		base64.StdEncoding.EncodeToString([]byte(sent)), base64.URLEncoding.EncodeToString([]byte("xy" + sent)), base64.RawStdEncoding.EncodeToString([]byte("x" + sent)),
	} {
		got := r.Text("wrong reply: expected \"ok\", got " + quote([]byte(text)))
		require.Contains(t, got, "wrong reply: expected \"ok\", got ")
		require.Contains(t, got, mask)
		reduced, _ := reduce(got)
		for _, part := range []string{"7f3a9c51", "51e0b84d", hex.EncodeToString([]byte(sentToken))[8:24]} {
			require.NotContains(t, reduced, part, text)
		}
	}
	for _, text := range []string{
		"HTTP/1.1 400 Bad Request", `status: expected 2xx, got "404 Not Found"`, "connection refused", "", "ä", "redis 7.2.4, replica, link up, lag 1s",
	} {
		require.Equal(t, text, r.Text(text))
	}
	require.Equal(t, "x", (*Redactor)(nil).Text("x"))
	require.Nil(t, NewRedactor([]string{""}, ""))
	require.Equal(t, "a *** b *** c", NewRedactor(nil, "0123456789", "abcdefghij").Text("a 0123456789 b abcdefghij c"))
	advice := r.advice(agentcheck.Advice{Text: "is " + sentToken, Unknown: sentToken})
	require.Equal(t, agentcheck.Advice{Text: "is ***", Unknown: "***"}, *advice)
}

// FuzzRedactor finds no part of what was sent in a redacted text, and finds valid UTF-8.
func FuzzRedactor(f *testing.F) {
	f.Add("check "+sentToken, "got "+sentToken+"!")
	f.Add("ääääääää", "x ääää")
	f.Fuzz(func(t *testing.T, sent, text string) {
		if len(sent) > 1000 || len(text) > 1000 || !utf8.ValidString(text) {
			return
		}
		got := NewRedactor(nil, sent).Text(text)
		require.True(t, utf8.ValidString(got), "%q", got)
		plain, _ := reduce(sent)
		for part := range strings.SplitSeq(got, mask) {
			reduced, _ := reduce(part)
			for i := 0; i+fragmentLength <= len(reduced); i++ {
				require.NotContains(t, plain, reduced[i:i+fragmentLength])
			}
		}
	})
}
