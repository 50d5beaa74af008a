package admin

// Authentication and protection against other origins. TCP addresses require the token, if one is configured; unix sockets
// rely on their file mode.

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
	required bool
	digest   [sha256.Size]byte
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

// matches reports whether an Authorization header has the token. It takes constant time.
func (t *Token) matches(header string) bool {
	scheme, secret, _ := strings.Cut(header, " ")
	digest := sha256.Sum256([]byte(strings.TrimSpace(secret)))
	return strings.EqualFold(scheme, "bearer") && subtle.ConstantTimeCompare(digest[:], t.digest[:]) == 1
}

// authorize returns the handler that rejects unauthorized requests and passes on the others. No response allows another origin
// (CORS), so that no foreign page in a browser can read one, make changes, occupy connections, or reach a loopback address
// under a name of its own.
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
			writeError(w, http.StatusMisdirectedRequest, "", "want an IP address or localhost in the Host header")
		case origin.Check(r) != nil || crossOrigin(r):
			writeError(w, http.StatusForbidden, "", "request from another origin")
		case tcp && !t.required && fromBrowser(r) && simplePost(r):
			writeError(w, http.StatusUnsupportedMediaType, "Content-Type", "want application/json, got "+r.Header.Get("Content-Type"))
		default:
			s.routes.ServeHTTP(w, r)
		}
	})
}

// crossOrigin reports whether a page of another origin sent the request. Following a link to the dashboard is allowed.
func crossOrigin(r *http.Request) bool {
	site := r.Header.Get("Sec-Fetch-Site")
	if site != "cross-site" && site != "same-site" {
		return false
	}
	return r.URL.Path != "/" || r.Header.Get("Sec-Fetch-Mode") != "navigate" || r.Header.Get("Sec-Fetch-Dest") != "document"
}

// fromBrowser reports whether a browser sent the request. All browsers send one of these headers, and a page cannot remove them
// without a preflight request.
func fromBrowser(r *http.Request) bool {
	return strings.HasPrefix(r.UserAgent(), "Mozilla/") || r.Header.Get("Origin") != "" || r.Header.Get("Sec-Fetch-Site") != ""
}

// simplePost reports whether the body has one of the types that a browser sends for any page without a preflight request
// (Fetch, section 2.2.2). /v1/plan accepts any type, because it changes nothing.
func simplePost(r *http.Request) bool {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil && r.Header.Get("Content-Type") == "" || r.Method != http.MethodPost || r.ContentLength == 0 || r.URL.Path == "/v1/plan" {
		return false
	}
	return err != nil || kind != "application/json" && !strings.HasSuffix(kind, "+json")
}

// isLocalHost reports whether a Host header is an address or localhost. Any other name could be made to resolve to this host
// (DNS rebinding).
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
