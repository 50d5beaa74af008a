package checks

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/stretchr/testify/require"

	"weir/conf"
	"weir/internal/nettest"
	"weir/internal/printable"
)

// Text of servers, certificates and programs reaches reasons in printable characters and clipped, whatever a monitor
// returns.
func TestResultsArePrintableAndClipped(t *testing.T) {
	hostile := strings.Repeat("\x1b[31mred\n\u202e", 10_000)
	for _, monitor := range []Monitor{
		func(context.Context, Target) (Report, error) { return Report{Detail: hostile}, nil },
		func(context.Context, Target) (Report, error) { return Report{}, &FullError{errors.New(hostile)} },
		func(context.Context, Target) (Report, error) { panic(hostile) },
	} {
		results := make(chan Result, 1)
		r := NewRunner(Options{Result: func(r Result) { results <- r }})
		r.Update([]Job{{Monitor: monitor, Target: Target{Address: "127.0.0.1:1"}, Spec: conf.Check{ID: "x", Interval: time.Hour}}})
		result := <-results
		r.Close()
		for _, text := range []string{result.Detail, fmt.Sprint(result.Err)} {
			require.LessOrEqual(t, len(text), printable.MaxLine+3)
			require.False(t, strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }), "%q", text)
		}
	}
}

// A certificate's names are part of the error of a server whose name is another one.
func TestCertificateNamesArePrintableAndClipped(t *testing.T) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	for i := range 2000 {
		template.DNSNames = append(template.DNSNames, "\x1b[31m\nhost"+strconv.Itoa(i)+".example")
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, private.Public(), private)
	require.NoError(t, err)
	h := nettest.Start(t, func(_ context.Context, c *net.TCPConn) {
		_ = tls.Server(c, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: private}}}).Handshake()
	})
	monitor, err := TCP{TLS: &TLS{ServerName: "other.example"}}.Monitor()
	require.NoError(t, err)
	results := make(chan Result, 1)
	r := NewRunner(Options{Result: func(r Result) { results <- r }})
	defer r.Close()
	r.Update([]Job{{Monitor: monitor, Target: Target{Address: h.Addr()}, Spec: conf.Check{ID: "x", Interval: time.Hour, Timeout: 10 * time.Second}}})
	result := <-results
	require.ErrorContains(t, result.Err, "TLS handshake: ")
	require.LessOrEqual(t, len(result.Detail), printable.MaxLine+3)
	require.NotContains(t, result.Detail, "\x1b")
	require.NotContains(t, result.Detail, "\n")
}
