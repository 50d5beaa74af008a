package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"

	"weir/internal/status"
)

// clientOf returns a client of a server with a token.
func clientOf(t *testing.T, handler http.HandlerFunc) *client {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	file := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(file, []byte("0123456789abcdef"), 0o600))
	c, err := (&clientFlags{admin: s.Listener.Addr().String(), tokenFile: file}).client()
	require.NoError(t, err)
	return c
}

// A token does not follow a redirect, neither to another address nor to the same one.
func TestClientFollowsNoRedirect(t *testing.T) {
	reached := false
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
	defer other.Close()
	for _, code := range []int{301, 302, 303, 307, 308} {
		c := clientOf(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/again" {
				reached = true
			}
			to := other.URL
			if code == 301 {
				to = "/again"
			}
			http.Redirect(w, r, to, code)
		})
		_, err := c.do(context.Background(), http.MethodGet, "/v1/status", nil, nil)
		require.ErrorContains(t, err, "not a weir API")
		require.False(t, reached)
	}
}

// No text of a response controls the terminal, in a document, as JSON, in an event or in an error.
func TestResponsesAreMadePlain(t *testing.T) {
	const hostile = "a\x1b]0;owned\x07\u009b31m\u202eb"
	control := func(s string) bool {
		return strings.ContainsFunc(s, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) })
	}
	var doc status.Document
	c := clientOf(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/error" {
			w.WriteHeader(http.StatusConflict)
		}
		json.NewEncoder(w).Encode(map[string]any{"version": hostile, "error": hostile, "clusters": []any{map[string]any{"name": hostile}}})
	})
	text, err := c.do(context.Background(), http.MethodGet, "/v1/status", nil, &doc)
	require.NoError(t, err)
	require.False(t, control(string(text)), "%q", text)
	require.False(t, control(doc.Version+doc.Clusters[0].Name), "%q", doc.Version)
	_, err = c.do(context.Background(), http.MethodGet, "/error", nil, nil)
	var out strings.Builder
	require.Equal(t, ExitUsage, ExitCode(err, &out))
	require.False(t, control(out.String()), "%q", out.String())
	err = eachEvent(strings.NewReader(fmt.Sprintf("data: {\"event\": %q}\n\n", "x\u009b")), func(ev status.Event, _ string) error {
		require.False(t, control(ev.Event))
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, `"a\u009bb\u007fc→d"`, string(plainJSON([]byte("\"a\u009bb\x7fc→d\""))))
	require.JSONEq(t, `"😀\u00e9\u009b"`, string(plainJSON([]byte("\"😀é\u009b\""))))
}
