// Providers over HTTPS: authorities and client certificates.

package discovery_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// secureEndpoint is an endpoint whose certificate, and whose demand for one, can be changed.
type secureEndpoint struct {
	*endpoint
	t      *testing.T
	config atomic.Pointer[tls.Config]
	asked  atomic.Pointer[x509.Certificate] // certificate of the last client; nil = none
}

func newSecureEndpoint(t *testing.T, own nettest.Certificates) *secureEndpoint {
	e := &secureEndpoint{endpoint: newEndpoint(t), t: t}
	e.present(own, "")
	e.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return e.config.Load(), nil }}
	e.Config.ErrorLog = log.New(io.Discard, "", 0) // handshakes that fail are expected
	e.StartTLS()
	return e
}

// present makes the endpoint use a certificate, and demand one of an authority; "" = none.
func (e *secureEndpoint) present(own nettest.Certificates, authority string) {
	e.t.Helper()
	pair, err := tls.LoadX509KeyPair(own.Cert, own.Key)
	require.NoError(e.t, err)
	c := &tls.Config{Certificates: []tls.Certificate{pair}, SessionTicketsDisabled: true}
	if authority != "" {
		c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
		require.True(e.t, c.ClientCAs.AppendCertsFromPEM([]byte(weirtest.ReadFile(e.t, authority))))
		c.VerifyConnection = func(s tls.ConnectionState) error {
			e.asked.Store(s.PeerCertificates[0])
			return nil
		}
	}
	e.config.Store(c)
}

// keys returns the keys of a provider that asks the endpoint.
func (e *secureEndpoint) keys(more string, args ...any) string {
	return fmt.Sprintf("type = \"http\"\nurl = \"%s/list\"\ninterval = \"200ms\"\n", e.URL) + fmt.Sprintf(more, args...)
}

// withClient returns keys with an authority and a client certificate.
func (e *secureEndpoint) withClient(authority string, c nettest.Certificates) string {
	return e.keys("tls_ca_file = %q\ntls_cert_file = %q\ntls_key_file = %q\n", authority, c.Cert, c.Key)
}

// An https provider is believed only with a certificate of the authority. With another one it fails, and the last servers stay.
func TestHTTPSAuthority(t *testing.T) {
	t.Parallel()
	hosts := weirtest.StartLetters(t, "AB")
	own, other := nettest.NewCertificates(t), nettest.NewCertificates(t)
	e := newSecureEndpoint(t, own)
	e.set(200, text(t, group(addresses(hosts, "A"))))
	config := found(e.keys("tls_ca_file = %q\n", own.CA))
	w, listen, a := weirtest.ServeAPI(t, config)
	require.Equal(t, "A", weirtest.ReadSessions(t, listen, 1))
	require.Empty(t, problems(a))

	e.set(200, text(t, group(addresses(hosts, "B"))))
	waitServers(a, hosts["B"].Addr())
	e.set(200, text(t, group(addresses(hosts, "A"))))
	e.present(other, "")
	waitProblem(a, "provider of level 1 (http) fails: its last 1 server stays")
	require.Contains(t, problems(a), "certificate signed by unknown authority")
	e.present(own, "")
	waitServers(a, hosts["A"].Addr())
	waitNoProblem(a)

	config.Listen, config.Checks = listen, found(e.keys("tls_ca_file = %q\n", other.CA)).Checks
	w.Reload(a.AddTo(config.String()))
	waitProblem(a, "certificate signed by unknown authority")
	require.Equal(t, "A", weirtest.ReadSessions(t, listen, 1), "a reload with the wrong authority keeps the last servers")
	config.Checks = found(e.keys("tls_ca_file = %q\ntls_server_name = \"other.test\"\n", own.CA)).Checks
	w.Reload(a.AddTo(config.String()))
	waitProblem(a, "not other.test")
	require.Equal(t, "A", weirtest.ReadSessions(t, listen, 1))
	config.Checks = found(e.keys("tls_ca_file = %q\ntls_server_name = \"localhost\"\n", own.CA)).Checks
	w.Reload(a.AddTo(config.String()))
	waitNoProblem(a)
}

// A server of lists that demands a client certificate gets it. Without it, and with one of another authority, the provider fails
// with the server's alert, and the last servers stay.
func TestHTTPSClientCertificate(t *testing.T) {
	t.Parallel()
	hosts := weirtest.StartLetters(t, "AB")
	own, other := nettest.NewCertificates(t), nettest.NewCertificates(t)
	e := newSecureEndpoint(t, own)
	e.present(own, own.CA)
	e.set(200, text(t, group(addresses(hosts, "A"))))
	config := found(e.withClient(own.CA, own))
	w, listen, a := weirtest.ServeAPI(t, config)
	require.Equal(t, "A", weirtest.ReadSessions(t, listen, 1))
	require.Empty(t, problems(a))
	require.Equal(t, "host", e.asked.Load().Subject.CommonName)

	config.Listen = listen
	for _, x := range []struct{ keys, problem string }{
		{e.keys("tls_ca_file = %q\n", own.CA), "certificate required"},
		{e.withClient(own.CA, other), "unknown certificate authority"},
	} {
		config.Checks = found(x.keys).Checks
		w.Reload(a.AddTo(config.String()))
		waitAlert(a, x.problem)
		require.Equal(t, "A", weirtest.ReadSessions(t, listen, 1))
	}
}

// waitAlert waits until a provider fails with the server's alert, or with a reset, when that overtakes the alert.
func waitAlert(a weirtest.API, alert string) {
	a.T.Helper()
	waitProblem(a, "provider of level 1 (http) fails: its last 1 server stays")
	nettest.Wait(a.T, weirtest.Bound(5*time.Second), "the alert "+alert, func() bool {
		for _, want := range []string{alert, "connection reset by peer", "broken pipe"} {
			if strings.Contains(problems(a), want) {
				return true
			}
		}
		return false
	})
}

// A reload reads the certificates of a provider again, although their paths are the same: a renewed client certificate and a
// renewed authority are in use afterwards.
func TestReloadReadsCertificatesOfProvider(t *testing.T) {
	t.Parallel()
	hosts := weirtest.StartLetters(t, "AB")
	files, renewed := nettest.NewCertificates(t), nettest.NewCertificates(t)
	e := newSecureEndpoint(t, files)
	e.present(files, files.CA)
	e.set(200, text(t, group(addresses(hosts, "A"))))
	w, listen, a := weirtest.ServeAPI(t, found(e.withClient(files.CA, files)))
	require.Equal(t, "A", weirtest.ReadSessions(t, listen, 1))
	was := e.asked.Load()

	e.present(renewed, renewed.CA)
	waitProblem(a, "certificate signed by unknown authority") // else a request that began before may get the new list
	e.set(200, text(t, group(addresses(hosts, "B"))))
	for from, to := range map[string]string{renewed.CA: files.CA, renewed.Cert: files.Cert, renewed.Key: files.Key} {
		require.NoError(t, os.WriteFile(to, []byte(weirtest.ReadFile(t, from)), 0o600))
	}
	require.Equal(t, "A", weirtest.ReadSessions(t, listen, 1))
	w.SignalReload("reload")
	waitServers(a, hosts["B"].Addr())
	waitNoProblem(a)
	require.Equal(t, "B", weirtest.ReadSessions(t, listen, 1))
	require.NotEqual(t, was.Raw, e.asked.Load().Raw)

	require.NoError(t, os.WriteFile(files.Key, []byte("no key"), 0o600))
	require.Contains(t, w.FailReload(weirtest.ReadFile(t, w.File)).Text("error"), "discover.tls_key_file")
	require.Equal(t, "B", weirtest.ReadSessions(t, listen, 1), "a reload without a key changes nothing")
}
