package admin

// Authorization. A unix socket relies on its file mode and permits everything. A TCP address permits what its guard says:
// without a token and client certificates, only reading.

import (
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"weir/conf"
)

// Guard decides what clients of TCP addresses may do. It is immutable. The zero value permits reading to all clients.
type Guard struct {
	token     *digest     // permits everything; nil = none
	readToken *digest     // permits reading; nil = none
	tls       *tls.Config // nil = no TLS
}

// digest is the digest of a token.
type digest [sha256.Size]byte

// KeyError is what is wrong with one key of [admin].
type KeyError struct {
	Key string
	Err error
}

// NewGuard reads the tokens and certificates of a configuration. It returns all errors.
func NewGuard(spec conf.Admin) (*Guard, []KeyError) {
	g := &Guard{}
	var errs []KeyError
	fail := func(key string, err error) {
		if err != nil {
			errs = append(errs, KeyError{key, err})
		}
	}
	var err error
	g.token, err = readToken(spec.TokenFile)
	fail("token_file", err)
	g.readToken, err = readToken(spec.ReadTokenFile)
	if err == nil && g.readToken != nil && g.token != nil && *g.readToken == *g.token {
		err = errors.New("the same token as in token_file")
	}
	fail("read_token_file", err)
	if spec.TLSCertFile == "" {
		return g, errs
	}
	g.tls = &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
	key, err := readPrivate(spec.TLSKeyFile, maxPEM)
	if err != nil {
		fail("tls_key_file", err)
	} else if chain, err := conf.ReadFile(spec.TLSCertFile, maxPEM); err != nil {
		fail("tls_cert_file", err)
	} else {
		cert, err := tls.X509KeyPair(chain, key)
		if err != nil {
			err = fmt.Errorf("%s: %w", spec.TLSCertFile, err)
		}
		fail("tls_cert_file", err)
		g.tls.Certificates = []tls.Certificate{cert}
	}
	if spec.TLSClientCAFile != "" {
		g.tls.ClientAuth, g.tls.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
		text, err := conf.ReadFile(spec.TLSClientCAFile, maxPEM)
		if err == nil && !g.tls.ClientCAs.AppendCertsFromPEM(text) {
			err = fmt.Errorf("%s: want certificates in PEM format", spec.TLSClientCAFile)
		}
		fail("tls_client_ca_file", err)
	}
	return g, errs
}

const (
	maxToken = 4096    // bytes of a token file
	minToken = 16      // bytes of a token
	maxPEM   = 1 << 20 // bytes of a file with keys or certificates
)

// readToken returns the digest of the first line of a token file, or nil if file is "".
func readToken(file string) (*digest, error) {
	if file == "" {
		return nil, nil
	}
	text, err := readPrivate(file, maxToken)
	if err != nil {
		return nil, err
	}
	line, _, _ := strings.Cut(string(text), "\n")
	line = strings.TrimSpace(line)
	switch {
	case line == "":
		return nil, fmt.Errorf("%s: want one line with a token", file)
	case len(line) < minToken:
		return nil, fmt.Errorf("%s: want a token of at least %d bytes, got %d", file, minToken, len(line))
	}
	return new(digest(sha256.Sum256([]byte(line)))), nil
}

// readPrivate reads a file that other users must not be able to read or write.
func readPrivate(file string, limit int64) ([]byte, error) {
	info, err := os.Stat(file)
	if err == nil && info.Mode().IsRegular() && info.Mode()&0o006 != 0 {
		return nil, fmt.Errorf("%s: other users may read or write it (mode %04o); run chmod o-rw", file, info.Mode().Perm())
	}
	return conf.ReadFile(file, limit)
}

// matches reports whether an Authorization header has the token. It takes constant time.
func (d *digest) matches(header string) bool {
	scheme, secret, _ := strings.Cut(header, " ")
	sum := sha256.Sum256([]byte(strings.TrimSpace(secret)))
	return d != nil && strings.EqualFold(scheme, "bearer") && subtle.ConstantTimeCompare(sum[:], d[:]) == 1
}

// credentials reports whether requests must have a token.
func (g *Guard) credentials() bool { return g.token != nil || g.readToken != nil }

// access is what a request may do.
type access uint8

const (
	noAccess   access = iota
	readAccess        // GET and HEAD
	fullAccess
)

// access returns what the credentials of a request permit.
func (g *Guard) access(r *http.Request) access {
	header := r.Header.Get("Authorization")
	switch {
	case g.token.matches(header):
		return fullAccess
	case g.readToken.matches(header):
		return readAccess
	case g.credentials():
		return noAccess
	case g.tls != nil && g.tls.ClientCAs != nil: // the handshake has verified the certificate
		return fullAccess
	}
	return readAccess
}

// sameClients reports whether connections that were accepted under other TLS settings have clients that the guard would admit:
// the certificate of the server may differ, but not the authorities of the clients.
func (g *Guard) sameClients(old *tls.Config) bool {
	if old == nil || g.tls == nil {
		return old == g.tls
	}
	if old.ClientCAs == nil || g.tls.ClientCAs == nil {
		return old.ClientCAs == g.tls.ClientCAs
	}
	return old.ClientCAs.Equal(g.tls.ClientCAs)
}

// reads reports whether a request changes nothing, runs nothing and reads no file of the host.
func reads(r *http.Request) bool { return r.Method == http.MethodGet || r.Method == http.MethodHead }

// refusal is why a request is not served.
type refusal struct {
	code        int
	reason      string // of the log
	field, text string
}

// check returns what a request on a TCP address may do, or why it is refused.
func (g *Guard) check(r *http.Request) (access, *refusal) {
	a := g.access(r)
	switch {
	case a == noAccess:
		return a, &refusal{http.StatusUnauthorized, "token", "", "want the token of admin.token_file: Authorization: Bearer …"}
	case !g.credentials() && !isLocalHost(r.Host) && g.tls == nil:
		return a, &refusal{http.StatusMisdirectedRequest, "host", "", "want an IP address or localhost in the Host header"}
	}
	if no := checkOrigin(r); no != nil {
		return a, no
	}
	switch {
	case a == readAccess && !reads(r) && g.credentials():
		return a, &refusal{http.StatusForbidden, "read_only", "", "this token is for GET only: changes need the token of admin.token_file"}
	case a == readAccess && !reads(r):
		return a, &refusal{http.StatusForbidden, "read_only", "", "this address is read-only: changes need a unix socket of admin.listen, or a token (admin.token_file) or client certificate (admin.tls_client_ca_file)"}
	case !g.credentials() && fromBrowser(r) && simplePost(r):
		return a, &refusal{http.StatusUnsupportedMediaType, "content_type", "Content-Type", "want application/json, got " + r.Header.Get("Content-Type")}
	}
	return a, nil
}

// authorize returns the handler of one address. It refuses unauthorized requests and passes on the others. No response allows
// another origin (CORS), so that no foreign page in a browser can read one, make changes, occupy connections, or reach a
// loopback address under a name of its own.
func (s *Server) authorize(l *apiListener) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		conn := connOf(r)
		var given *grant
		if l.tcp && reads(r) {
			var remove func()
			r, given, remove = l.grants.add(r, conn)
			defer remove()
		}
		may, no := fullAccess, checkOrigin(r)
		if g := l.guard.Load(); l.tcp {
			if may, no = g.check(r); conn.tls != g.tls {
				no = &refusal{http.StatusMisdirectedRequest, "tls", "", "the TLS settings of this address have changed; connect again"}
			}
		}
		if no == nil && reads(r) && r.ContentLength != 0 { // net/http would wait for it, and the client would keep its place
			no = &refusal{http.StatusBadRequest, "body", "", r.Method + " requests have no body"}
		}
		if no == nil && !conn.begin(may) {
			no = &refusal{http.StatusServiceUnavailable, "busy", "", fmt.Sprintf("%d clients read from this address already", conn.listener.maxReaders())}
		}
		if no != nil {
			s.refuse(w, r, l, conn, no)
			return
		}
		defer conn.end()
		if given != nil {
			l.grants.permit(given, may)
		}
		h.Set("Weir-Access", map[access]string{readAccess: "read", fullAccess: "full"}[may])
		s.serve(w, r, conn)
	})
}

// refuse answers a refused request and ends its connection at once: the body is not read, and the connection gives way to new
// clients until it is closed.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, l *apiListener, conn *limitedConn, no *refusal) {
	defer conn.giveWay()
	s.refusals.add(s.log, no.reason, l.address, conn.peer())
	h := w.Header()
	h.Set("Connection", "close")
	out := http.NewResponseController(w)
	out.SetReadDeadline(time.Unix(1, 0))
	out.SetWriteDeadline(time.Now().Add(refusalTimeout))
	if no.code == http.StatusServiceUnavailable {
		h.Set("Retry-After", retryAfter)
	}
	if no.code == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", "Bearer")
		if r.URL.Path == "/" && reads(r) {
			s.page.write(w, no.code)
			return
		}
	}
	writeError(w, no.code, no.field, no.text)
}

// refusalTimeout bounds the response to a refused request.
const refusalTimeout = time.Second

// serve serves an authorized request, and logs it if it is a change.
func (s *Server) serve(w http.ResponseWriter, r *http.Request, conn *limitedConn) {
	if !reads(r) {
		s.log.Info("API request", "method", r.Method, "path", r.URL.Path, "by", conn.peer())
	}
	s.routes.ServeHTTP(w, r)
}

// checkOrigin refuses requests that a page of another origin sent.
func checkOrigin(r *http.Request) *refusal {
	if http.NewCrossOriginProtection().Check(r) != nil || crossOrigin(r) {
		return &refusal{http.StatusForbidden, "origin", "", "request from another origin"}
	}
	return nil
}

// crossOrigin reports whether a page of another origin sent the request. Following a link to the dashboard is allowed. Browsers
// without Sec-Fetch-Site send an Origin with the requests of scripts for other origins, also with GET.
func crossOrigin(r *http.Request) bool {
	site, origin := r.Header.Get("Sec-Fetch-Site"), r.Header.Get("Origin")
	if site == "" && origin != "" {
		from, err := url.Parse(origin)
		return err != nil || from.Host != r.Host
	}
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
