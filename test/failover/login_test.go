package failover_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// A Sentinel that requires a client certificate and a user. The user has the rights that docs/redis.md names.
func TestSentinelWithCertificateAndUser(t *testing.T) {
	t.Parallel()
	certificates := nettest.NewCertificates(t)
	r := nettest.StartReplication(t, nettest.SentinelOptions{
		Replicas: 1, Sentinels: 1, TLS: &certificates, CLIArgs: []string{"--user", "admin", "--pass", "admin-password"},
		Lines: []string{"user default off", "user admin on >admin-password allchannels +@all",
			"user weir on >weir-password +sentinel|get-master-addr-by-name +sentinel|master +sentinel|replicas +subscribe +ping allchannels"},
	})
	password := filepath.Join(t.TempDir(), "password")
	require.NoError(t, os.WriteFile(password, []byte("weir-password\n"), 0o600))
	config := weirtest.Config{
		Levels: weirtest.OneLevel(),
		Cluster: "on_down = \"close\"\nhold_timeout = \"30s\"\n" + fmt.Sprintf(
			"[cluster.c.topology]\ntype = \"sentinel\"\nmaster = %q\nsentinels = [%q]\ndiscover = true\nuser = \"weir\"\npassword_file = %q\n"+
				"tls = true\ntls_ca_file = %q\ntls_cert_file = %q\ntls_key_file = %q\n",
			nettest.MasterName, r.Sentinels[0].Addr(), password, certificates.CA, certificates.Cert, certificates.Key),
	}
	w, addr := weirtest.Serve(t, config)
	keepConnections(w, 1)
	port := func() string {
		c, err := dialRedis(addr, 5*time.Second)
		require.NoError(t, err)
		defer c.Close()
		texts, err := c.do(30*time.Second, "CONFIG", "GET", "port")
		require.NoError(t, err)
		return "127.0.0.1:" + texts[1]
	}
	require.Equal(t, r.Servers[0].Addr(), port())
	switched := time.Now()
	r.Failover()
	w.WaitRecord(30*time.Second, "the new primary", func(rec weirtest.Record) bool {
		return rec.IsEvent("primary_change") && rec.Text("to") == r.Servers[1].Addr()
	})
	require.Equal(t, r.Servers[1].Addr(), port())
	t.Logf("the new primary serves %v after the command", time.Since(switched).Round(time.Millisecond))
	require.NotContains(t, w.Output(), "weir-password")
}
