package admin

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/conf"
)

// authority issues certificates for a test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
	file string // PEM
	dir  string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{dir: t.TempDir(), pool: x509.NewCertPool()}
	a.file, _ = a.issue(t, "authority")
	a.pool.AddCert(a.cert)
	return a
}

// issue writes a certificate and its key. The first one is the authority's own.
func (a *authority) issue(t *testing.T, name string) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, BasicConstraintsValid: true, IsCA: a.cert == nil,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	require.NoError(t, err)
	if a.cert == nil {
		a.cert, err = x509.ParseCertificate(der)
		require.NoError(t, err)
		a.key = key
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	certFile, keyFile = filepath.Join(a.dir, name+".crt"), filepath.Join(a.dir, name+".key")
	require.NoError(t, os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644))
	require.NoError(t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600))
	return certFile, keyFile
}

// client returns an HTTPS client with the certificate of a file, or none for "".
func (a *authority) client(t *testing.T, certFile, keyFile string) *http.Client {
	t.Helper()
	cfg := &tls.Config{RootCAs: a.pool}
	if certFile != "" {
		cert, err := tls.LoadX509KeyPair(certFile, keyFile)
		require.NoError(t, err)
		cfg.Certificates = []tls.Certificate{cert}
	}
	return &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: cfg}}
}

// patchServer sends a change over HTTPS. It returns the status code, or the error of the connection.
func patchServer(client *http.Client, at conf.Address, token string) (int, error) {
	req, err := http.NewRequest(http.MethodPatch, "https://"+at.String()+"/v1/clusters/c/servers/a", strings.NewReader(`{"weight": 1}`))
	if err != nil {
		return 0, err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	res.Body.Close()
	return res.StatusCode, nil
}

// A certificate of the authority permits changes; with a token configured, clients need both.
func TestClientCertificatesPermitChanges(t *testing.T) {
	ours, other := newAuthority(t), newAuthority(t)
	cert, key := ours.issue(t, "server")
	opsCert, opsKey := ours.issue(t, "ops")
	foreignCert, foreignKey := other.issue(t, "ops")
	at := freePort(t)
	f := newFakeWeir()
	spec := conf.Admin{Listen: []conf.Address{at}, Explicit: true, TLSCertFile: cert, TLSKeyFile: key}
	s := startServer(t, f, spec)
	code, err := patchServer(ours.client(t, "", ""), at, "")
	require.NoError(t, err)
	require.Equal(t, 403, code, "HTTPS alone is no credential")
	res, err := http.Get("http://" + at.String() + "/v1/status")
	require.NoError(t, err)
	res.Body.Close()
	require.Equal(t, 400, res.StatusCode, "no clear text")

	commit := func() {
		guard, wrong := NewGuard(spec)
		require.Empty(t, wrong)
		c, err := s.Prepare(spec, guard)
		require.NoError(t, err)
		c.Commit()
	}
	spec.TLSClientCAFile = ours.file
	commit()
	code, err = patchServer(ours.client(t, opsCert, opsKey), at, "")
	require.NoError(t, err)
	require.Equal(t, 200, code)
	require.Regexp(t, `^127\.0\.0\.1:\d+ \(ops\)$`, f.by)
	_, err = patchServer(ours.client(t, "", ""), at, "")
	require.Error(t, err)
	_, err = patchServer(ours.client(t, foreignCert, foreignKey), at, "")
	require.Error(t, err)

	spec.TokenFile = filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(spec.TokenFile, []byte("s3cret-s3cret-s3cret\n"), 0o600))
	commit()
	code, err = patchServer(ours.client(t, opsCert, opsKey), at, "")
	require.NoError(t, err)
	require.Equal(t, 401, code)
	code, err = patchServer(ours.client(t, opsCert, opsKey), at, "s3cret-s3cret-s3cret")
	require.NoError(t, err)
	require.Equal(t, 200, code)
	_, err = patchServer(ours.client(t, "", ""), at, "s3cret-s3cret-s3cret")
	require.Error(t, err)
}

// A connection does not outlive the TLS settings under which it was accepted.
func TestTLSChangeEndsOldConnections(t *testing.T) {
	ours := newAuthority(t)
	cert, key := ours.issue(t, "server")
	at := freePort(t)
	spec := conf.Admin{Listen: []conf.Address{at}, Explicit: true}
	s := startServer(t, newFakeWeir(), spec)
	kept := http.Client{Timeout: 5 * time.Second}
	defer kept.CloseIdleConnections()
	res, err := kept.Get("http://" + at.String() + "/healthz")
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	spec.TLSCertFile, spec.TLSKeyFile = cert, key
	guard, wrong := NewGuard(spec)
	require.Empty(t, wrong)
	c, err := s.Prepare(spec, guard)
	require.NoError(t, err)
	c.Commit()
	res, err = kept.Get("http://" + at.String() + "/healthz")
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	require.NotEqual(t, 200, res.StatusCode)
}

func TestUnusableCertificatesAreErrors(t *testing.T) {
	ours := newAuthority(t)
	cert, key := ours.issue(t, "server")
	_, otherKey := ours.issue(t, "other")
	readable := filepath.Join(t.TempDir(), "readable.key")
	text, err := os.ReadFile(key)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(readable, text, 0o600))
	require.NoError(t, os.Chmod(readable, 0o644))
	for _, c := range []struct {
		spec conf.Admin
		key  string
		says string
	}{
		{conf.Admin{TLSCertFile: cert, TLSKeyFile: key, TLSClientCAFile: key}, "tls_client_ca_file", "want certificates"},
		{conf.Admin{TLSCertFile: cert, TLSKeyFile: otherKey}, "tls_cert_file", "does not match"},
		{conf.Admin{TLSCertFile: cert, TLSKeyFile: readable}, "tls_key_file", "mode 0644"},
		{conf.Admin{TLSCertFile: "/none", TLSKeyFile: key}, "tls_cert_file", "no such file"},
	} {
		_, wrong := NewGuard(c.spec)
		require.Len(t, wrong, 1, c.says)
		require.Equal(t, c.key, wrong[0].Key)
		require.ErrorContains(t, wrong[0].Err, c.says)
	}
}
