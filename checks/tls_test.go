package checks

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
)

// startTLSServer starts an HTTPS server for example.com and 127.0.0.1 and returns its address and its certificate's file.
func startTLSServer(t *testing.T) (address, ca string) {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "hello "+r.TLS.ServerName)
	}))
	s.EnableHTTP2 = false
	s.StartTLS()
	t.Cleanup(s.Close)
	ca = filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600))
	return s.Listener.Addr().String(), ca
}

func TestTLS(t *testing.T) {
	address, ca := startTLSServer(t)
	for name, o := range map[string]*TLS{
		"trusted, by address": {CAFile: ca},
		"trusted, by name":    {CAFile: ca, ServerName: "example.com"},
		"not verified":        {SkipVerify: true},
	} {
		_, err := runCheck(t, TCP{TLS: o}, address)
		require.NoError(t, err, name)
		_, err = runCheck(t, HTTP{TLS: o, Expect: []byte("hello")}, address)
		require.NoError(t, err, name)
	}
	_, err := runCheck(t, TCP{TLS: &TLS{}}, address)
	require.ErrorContains(t, err, "TLS handshake: ")
	require.ErrorContains(t, err, "unknown authority")
	_, err = runCheck(t, TCP{TLS: &TLS{CAFile: ca, ServerName: "other.example"}}, address)
	require.ErrorContains(t, err, "not other.example")
}

func TestTLSServerNameIsTheTargetsHost(t *testing.T) {
	address, ca := startTLSServer(t)
	_, err := checkWithin(t, HTTP{TLS: &TLS{CAFile: ca}, Expect: []byte("hello example.com")}, Target{Address: address, Host: "example.com"}, closeTimeout*20)
	require.NoError(t, err)
}

func TestTLSServerWithoutTLSFails(t *testing.T) {
	for want, host := range map[string]nettest.Handler{
		"first record does not look like a TLS handshake": nettest.SendText("220 ready\r\n"),
		"TLS handshake: timed out":                        nettest.Silent,
		"TLS handshake: EOF":                              runScript([2]string{"\x16", ""}),
	} {
		h := nettest.Start(t, host)
		_, err := checkWithin(t, TCP{TLS: &TLS{SkipVerify: true}}, Target{Address: h.Addr()}, closeTimeout*3)
		require.ErrorContains(t, err, want)
	}
}

func TestTLSRefusedByTheServer(t *testing.T) {
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.TLS = &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		return nil, context.Canceled
	}}
	s.Config.ErrorLog = nil
	s.StartTLS()
	defer s.Close()
	_, err := runCheck(t, TCP{TLS: &TLS{SkipVerify: true}}, s.Listener.Addr().String())
	require.ErrorContains(t, err, "TLS handshake: alert from the server: tls: internal error")
}

func TestTLSFileWithoutCertificateIsRejected(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(path, []byte("nothing"), 0o600))
	_, err := TCP{TLS: &TLS{CAFile: path}}.Monitor()
	require.ErrorContains(t, err, "contains no certificate")
}

// makeCertificate writes a self-signed certificate for 127.0.0.1 and its key to files.
func makeCertificate(t *testing.T) (cert, key string) {
	t.Helper()
	return makeCertificateFor(t, "")
}

// makeCertificateFor is makeCertificate with a common name.
func makeCertificateFor(t *testing.T, name string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, Subject: pkix.Name{CommonName: name},
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, private.Public(), private)
	require.NoError(t, err)
	der2, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	require.NoError(t, os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	require.NoError(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der2}), 0o600))
	return cert, key
}

func TestTLSOfMySQL(t *testing.T) {
	cert, key := makeCertificate(t)
	m := nettest.StartMariaDB(t, "--ssl-cert="+cert, "--ssl-key="+key)
	o := user("weir", "secret")
	o.Query = "SELECT VARIABLE_VALUE <> '' FROM information_schema.SESSION_STATUS WHERE VARIABLE_NAME = 'Ssl_cipher'"
	_, err := runCheck(t, o, m.Addr())
	require.ErrorContains(t, err, "query: expected")
	o.TLS = &TLS{CAFile: cert}
	before := len(m.Log())
	for range 20 {
		_, err = runCheck(t, o, m.Addr())
		require.NoError(t, err)
	}
	require.NotContains(t, m.Log()[before:], "Aborted")
	o.TLS = &TLS{}
	_, err = runCheck(t, o, m.Addr())
	require.ErrorContains(t, err, "unknown authority")
}

func TestTLSOfRedis(t *testing.T) {
	cert, key := makeCertificate(t)
	address := nettest.Reserve(t)
	_, port, err := net.SplitHostPort(address)
	require.NoError(t, err)
	nettest.StartRedis(t, "--tls-port", port, "--tls-cert-file", cert, "--tls-key-file", key, "--tls-auth-clients", "no")
	_, err = runCheck(t, Redis{Role: "primary", TLS: &TLS{CAFile: cert}}, address)
	require.NoError(t, err)
	_, err = runCheck(t, Redis{}, address)
	require.Error(t, err)
}

// Redis with TLS requires client certificates by default.
func TestTLSClientCertificate(t *testing.T) {
	cert, key := makeCertificate(t)
	address := nettest.Reserve(t)
	_, port, err := net.SplitHostPort(address)
	require.NoError(t, err)
	nettest.StartRedis(t, "--tls-port", port, "--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", cert)
	o := Redis{Role: "primary", TLS: &TLS{CAFile: cert, CertFile: cert, KeyFile: key}}
	_, err = runCheck(t, o, address)
	require.NoError(t, err)
	o.TLS = &TLS{CAFile: cert}
	_, err = runCheck(t, o, address)
	require.Error(t, err)
	require.Regexp(t, "certificate required|connection reset by peer", err.Error()) // the reset may overtake the alert

	_, other := makeCertificate(t)
	none := filepath.Join(t.TempDir(), "none")
	for want, o := range map[string]TLS{
		"tls_key_file: ":              {CertFile: cert, KeyFile: other},
		"tls_cert_file: open " + none: {CertFile: none, KeyFile: key},
		"tls_key_file: open " + none:  {CertFile: cert, KeyFile: none},
		"contains no certificate":     {CertFile: "/dev/../etc/hostname", KeyFile: key},
	} {
		_, err := TCP{TLS: &o}.Monitor()
		require.ErrorContains(t, err, want)
	}
}
