package checks

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"

	"weir/conf"
)

// TLS says how a check that speaks over TCP secures its connection. A nil *TLS means that it does not.
type TLS struct {
	ServerName string // the name to ask for and to verify; "" = the target's host
	CAFile     string // PEM certificates to trust; "" = the system's
	SkipVerify bool   // accept any certificate
}

// maxCertificates bounds a file of certificates; that of a whole system has a quarter of a megabyte.
const maxCertificates = 16 << 20

// config builds what crypto/tls needs, without a server name; nil for a nil *TLS.
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
			return nil, OptionError{"tls_ca_file", fmt.Errorf("%s: no certificate in it", o.CAFile)}
		}
	}
	return c, nil
}

// tlsFor returns a configuration with the server name to verify for a target; nil for nil.
func tlsFor(c *tls.Config, t Target) *tls.Config {
	if c == nil || c.ServerName != "" {
		return c
	}
	c = c.Clone()
	c.ServerName = t.host()
	return c
}

// host returns the target's host as configured, else that of its address; "localhost" for a unix socket.
func (t Target) host() string {
	if t.Host != "" {
		return t.Host
	}
	if host, _, err := net.SplitHostPort(t.Address); err == nil {
		return host
	}
	return "localhost"
}

// handshakeError says what a TLS handshake failed of, without the addresses.
func handshakeError(err error) error {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "remote error" {
		return fmt.Errorf("TLS handshake: the server said %w", op.Err)
	}
	return fmt.Errorf("TLS handshake: %w", err)
}
