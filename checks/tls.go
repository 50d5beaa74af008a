package checks

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"

	"weir/conf"
)

// TLS configures the TLS connection of a check over TCP. A nil *TLS means a plain connection.
type TLS struct {
	ServerName string // the name to send and to verify; "" = the target's host
	CAFile     string // PEM certificates to trust; "" = the system's
	CertFile   string // PEM certificates of the check, for servers that require one; "" = none
	KeyFile    string // PEM key of CertFile
	SkipVerify bool   // accept any certificate
}

// maxCertificates limits the size of a certificate file. The certificates of a whole system have 250 kB.
const maxCertificates = 16 << 20

// config returns a tls.Config without a server name for the target, or nil for a nil *TLS.
func (o *TLS) config() (*tls.Config, error) {
	if o == nil {
		return nil, nil
	}
	c := &tls.Config{ServerName: o.ServerName, InsecureSkipVerify: o.SkipVerify}
	if o.CAFile != "" {
		pem, err := conf.ReadFile(o.CAFile, maxCertificates)
		if err != nil {
			return nil, OptionError{"tls_ca_file", err}
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, OptionError{"tls_ca_file", fmt.Errorf("%s contains no certificate", o.CAFile)}
		}
	}
	if o.CertFile != "" {
		own, err := o.readCertificate()
		if err != nil {
			return nil, err
		}
		c.Certificates = []tls.Certificate{own}
	}
	return c, nil
}

// readCertificate reads the certificate of the check and its key.
func (o *TLS) readCertificate() (tls.Certificate, error) {
	chain, err := conf.ReadFile(o.CertFile, maxCertificates)
	if err != nil {
		return tls.Certificate{}, OptionError{"tls_cert_file", err}
	}
	key, err := conf.ReadFile(o.KeyFile, maxCertificates)
	if err != nil {
		return tls.Certificate{}, OptionError{"tls_key_file", err}
	}
	if block, _ := pem.Decode(chain); block == nil {
		return tls.Certificate{}, OptionError{"tls_cert_file", fmt.Errorf("%s contains no certificate", o.CertFile)}
	}
	own, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return own, OptionError{"tls_key_file", fmt.Errorf("%s: %w", o.KeyFile, err)}
	}
	return own, nil
}

// tlsFor returns a config with the server name to verify for a target, or nil for a nil config.
func tlsFor(c *tls.Config, t Target) *tls.Config {
	if c == nil || c.ServerName != "" {
		return c
	}
	c = c.Clone()
	c.ServerName = t.host()
	return c
}

// host returns the target's configured host, else the host of its address; "localhost" for a unix socket.
func (t Target) host() string {
	if t.Host != "" {
		return t.Host
	}
	if host, _, err := net.SplitHostPort(t.Address); err == nil {
		return host
	}
	return "localhost"
}

// handshakeError returns the cause of a failed TLS handshake, without the addresses.
func handshakeError(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "remote error" {
		return fmt.Errorf("TLS handshake: alert from the server: %w", op.Err)
	}
	return fmt.Errorf("TLS handshake: %w", err)
}

// Client returns the configuration of a client that is no check. The server name to verify is that of the options, else the
// host that the client connects to. Errors are OptionErrors.
func (o *TLS) Client() (*tls.Config, error) { return o.config() }
