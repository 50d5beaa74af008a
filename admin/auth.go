package admin

// Who may ask: on TCP addresses whoever has the token, if there is one; on unix sockets whoever may open them.

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"weir/conf"
)

// Token is the digest of the secret that clients on TCP addresses send. The zero value accepts no token.
type Token struct {
	required    bool
	digest [sha256.Size]byte
}

// maxToken bounds a token file.
const maxToken = 4096

// ReadToken reads the first line of a token file. With file "", no token is set.
func ReadToken(file string) (*Token, error) {
	if file == "" {
		return &Token{}, nil
	}
	text, err := conf.ReadFile(file, maxToken)
	if err != nil {
		return nil, err
	}
	line, _, _ := strings.Cut(string(text), "\n")
	line = strings.TrimSpace(line)
	if line == "" {
		return nil, fmt.Errorf("%s: want one line with a token", file)
	}
	return &Token{true, sha256.Sum256([]byte(line))}, nil
}

// matches takes the same time whatever the client has guessed.
func (t *Token) matches(header string) bool {
	scheme, secret, _ := strings.Cut(header, " ")
	digest := sha256.Sum256([]byte(strings.TrimSpace(secret)))
	return strings.EqualFold(scheme, "bearer") && subtle.ConstantTimeCompare(digest[:], t.digest[:]) == 1
}

// authorize lets the right requests through. Nothing here allows other origins, so that no page in a browser can read an
// answer; nor may one make changes, take up places, or reach a loopback address by a name of its own.
func (s *Server) authorize(tcp bool) http.Handler {
	origin := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		t := s.token.Load()
		switch {
		case tcp && t.required && !t.matches(r.Header.Get("Authorization")):
			h.Set("WWW-Authenticate", "Bearer")
			if r.URL.Path == "/" && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
				s.page.write(w, http.StatusUnauthorized)
				return
			}
			writeError(w, http.StatusUnauthorized, "", "want the token of admin.token_file: Authorization: Bearer …")
		case tcp && !t.required && !isLocalHost(r.Host):
			writeError(w, http.StatusMisdirectedRequest, "", "want an address or localhost as the host")
		case origin.Check(r) != nil || crossOrigin(r):
			writeError(w, http.StatusForbidden, "", "a page of another origin may not do this")
		case tcp && !t.required && fromBrowser(r) && simplePost(r):
			writeError(w, http.StatusUnsupportedMediaType, "Content-Type", "want application/json, got "+r.Header.Get("Content-Type"))
		default:
			s.routes.ServeHTTP(w, r)
		}
	})
}

// crossOrigin tells whether a page of another origin asks, unless its user goes to the dashboard by a link.
func crossOrigin(r *http.Request) bool {
	site := r.Header.Get("Sec-Fetch-Site")
	if site != "cross-site" && site != "same-site" {
		return false
	}
	return r.URL.Path != "/" || r.Header.Get("Sec-Fetch-Mode") != "navigate" || r.Header.Get("Sec-Fetch-Dest") != "document"
}

// fromBrowser tells whether a browser asks, as far as it says so: all do, and no page can have them say otherwise without
// asking first.
func fromBrowser(r *http.Request) bool {
	return strings.HasPrefix(r.UserAgent(), "Mozilla/") || r.Header.Get("Origin") != "" || r.Header.Get("Sec-Fetch-Site") != ""
}

// simplePost tells whether a request has a body of one of the types that a browser sends for any page without asking
// first (Fetch, section 2.2.2). A configuration file to plan with may be of any type: nothing comes of it.
func simplePost(r *http.Request) bool {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil && r.Header.Get("Content-Type") == "" || r.Method != http.MethodPost || r.ContentLength == 0 || r.URL.Path == "/v1/plan" {
		return false
	}
	return err != nil || kind != "application/json" && !strings.HasSuffix(kind, "+json")
}

// isLocalHost tells whether a Host header is an address or localhost, and not a name that somebody may have pointed here.
func isLocalHost(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	if host == "" || strings.EqualFold(host, "localhost") {
		return true
	}
	_, err := netip.ParseAddr(host)
	return err == nil
}
