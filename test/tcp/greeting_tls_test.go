package tcp_test

import (
	"net"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// A Redis that speaks TLS behind greeting = "redis": its clients send a ClientHello first, and nothing of it is taken for a
// refusal. A client without TLS gets the server's alert.
func TestRedisTLSBehindGreeting(t *testing.T) {
	t.Parallel()
	certificates := nettest.NewCertificates(t)
	port := nettest.Reserve(t)
	_, number, err := net.SplitHostPort(port)
	require.NoError(t, err)
	nettest.StartRedis(t, "--tls-port", number, "--tls-ca-cert-file", certificates.CA, "--tls-cert-file", certificates.Cert,
		"--tls-key-file", certificates.Key, "--tls-auth-clients", "no")
	w, addr := weirtest.Serve(t, weirtest.Config{Cluster: "greeting = \"redis\"", Levels: weirtest.OneLevel(port + " name=A")})
	host, own, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	tls := []string{"-h", host, "-p", own, "--tls", "--cacert", certificates.CA}
	cli := func(more ...string) string {
		t.Helper()
		out, err := exec.Command("redis-cli", append(tls, more...)...).CombinedOutput()
		require.NoError(t, err, "%s", out)
		return string(out)
	}
	for range 3 {
		require.Equal(t, "PONG\n", cli("PING"))
	}
	value := strings.Repeat("v", 300_000)
	require.Equal(t, "OK\n", cli("SET", "k", value[:100_000]))
	require.Equal(t, value[:100_000]+"\n", cli("GET", "k"))
	out, err := exec.Command("redis-benchmark", append(tls, "-q", "-n", "2000", "-c", "20", "-P", "8", "-t", "incr")...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Equal(t, "2000\n", cli("GET", "counter:__rand_int__"), "nothing is executed twice")
	plain := exec.Command("redis-cli", "-h", host, "-p", own, "PING")
	out, _ = plain.CombinedOutput()
	require.NotContains(t, string(out), "PONG")
	require.Empty(t, w.Warnings())
}

// A client of MariaDB that changes to TLS after the greeting, behind greeting = "mysql", also if the first server refuses it.
func TestMariaDBTLSBehindGreeting(t *testing.T) {
	t.Parallel()
	certificates := nettest.NewCertificates(t)
	m := nettest.StartMariaDB(t, "--ssl-ca="+certificates.CA, "--ssl-cert="+certificates.Cert, "--ssl-key="+certificates.Key, "--require-secure-transport=ON")
	full := nettest.Start(t, refuse(mysqlRefusal(1040, "full"), 100, 0))
	w, addr := weirtest.Serve(t, weirtest.Config{
		Cluster: "greeting = \"mysql\"\nbalance = \"first\"", Levels: weirtest.OneLevel(full.Addr()+" name=A", m.Addr()+" name=B"),
	})
	for range 3 {
		out, err := m.Client(addr, "--ssl", "--ssl-ca="+certificates.CA, "-e", "SHOW STATUS LIKE 'Ssl_cipher'").CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.Contains(t, string(out), "TLS_")
	}
	out, err := m.Client(addr, "--skip-ssl", "-e", "SELECT 1").CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "ERROR 1045", "the refusal of a login is not one of a session")
	require.Equal(t, 4, full.Accepted())
	require.Empty(t, w.Warnings())
}
