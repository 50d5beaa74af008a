package topology

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/conf"
	"weir/internal/nettest"
)

// The real redis-sentinel: a planned failover, the roles of the servers, and Sentinels that die and hang.
func TestSentinelReal(t *testing.T) {
	t.Parallel()
	r := nettest.StartReplication(t, nettest.SentinelOptions{})
	w := watch(t, r.SentinelAddrs(), func(o *Options) {
		o.Spec.Interval, o.Spec.Discover = time.Second, false
		for i, s := range r.Servers {
			o.Servers = append(o.Servers, Server{Name: string(rune('a' + i)), Address: s.Addr(), Addresses: []netip.AddrPort{netip.MustParseAddrPort(s.Addr())}})
		}
	})
	first := r.Servers[0]
	v := w.waitPrimary(first.Addr())
	require.Empty(t, v.Problem)
	v = w.wait("the replicas", func(v View) bool { return len(v.Members) == 3 })
	for _, m := range v.Members {
		require.Equal(t, m.Name == "a", m.Role == Primary, "%+v", m)
		require.Equal(t, m.Name != "a", m.Role == Replica, "%+v", m)
	}

	epoch := v.Epoch
	r.Failover()
	// Wait for the primary that a majority of the Sentinels names, and compare the times.
	nettest.Wait(t, 30*time.Second, "the Sentinels to switch", func() bool { p := r.Primary(); return p != nil && p != first })
	agreed := time.Now()
	second := r.Primary()
	v = w.waitPrimary(second.Addr())
	require.Less(t, v.DecidedAt.Sub(agreed), bound(150*time.Millisecond))
	require.Greater(t, v.Epoch, epoch)
	require.Equal(t, v.Epoch, v.Fence)
	w.wait("the old primary to follow", func(v View) bool {
		for _, m := range v.Members {
			if m.Name == "a" {
				return m.Role == Replica
			}
		}
		return false
	})
	require.Zero(t, w.last().Stale)
	require.Empty(t, w.last().Problem)

	r.Sentinels[0].Kill()
	r.Sentinels[1].Pause()
	v = w.wait("lost quorum", func(v View) bool { return !v.Stale.IsZero() })
	require.Equal(t, second.Addr(), v.Primary)
	require.Contains(t, v.Problem, "lost quorum: 1 of 3")
	r.Sentinels[1].Resume()
	w.wait("the quorum", func(v View) bool { return v.Stale.IsZero() })
	r.Sentinels[0].Up()
	w.wait("no problem", func(v View) bool { return v.Problem == "" })
}

// Sentinels with TLS that require client certificates, and a user with the rights that weir needs and no other.
func TestSentinelRealTLSAndUser(t *testing.T) {
	t.Parallel()
	certificates := nettest.NewCertificates(t)
	const rights = "+sentinel|get-master-addr-by-name +sentinel|master +sentinel|replicas +subscribe +ping allchannels"
	r := nettest.StartReplication(t, nettest.SentinelOptions{
		Replicas: 1, Sentinels: 1, TLS: &certificates, CLIArgs: []string{"--user", "admin", "--pass", "admin-password"},
		Lines: []string{"user default off", "user admin on >admin-password allchannels +@all", "user weir on >weir-password " + rights,
			"user silent on >weir-password " + strings.Replace(rights, "allchannels", "", 1),
			"user blind on >weir-password +ping"},
	})
	start := func(change func(*conf.Topology)) *watching {
		return watch(t, r.SentinelAddrs(), func(o *Options) {
			o.Spec.Interval = time.Second
			o.Spec.User, o.Spec.Password.Value = "weir", "weir-password"
			o.Spec.TLS = conf.TLS{On: true, CAFile: certificates.CA, CertFile: certificates.Cert, KeyFile: certificates.Key}
			change(&o.Spec)
		})
	}
	for _, c := range []struct {
		change func(*conf.Topology)
		want   string
	}{
		{func(s *conf.Topology) { s.Password.Value = "wrong-password" }, "AUTH: server replied \"WRONGPASS"},
		{func(s *conf.Topology) { s.User, s.Password.Value = "", "" }, "NOAUTH"},
		{func(s *conf.Topology) { s.User = "blind" }, "NOPERM this user has no permissions to run the 'sentinel|"},
		{func(s *conf.Topology) { s.TLS = conf.TLS{} }, "AUTH: connection "}, // closed or reset
		{func(s *conf.Topology) { s.TLS.CertFile, s.TLS.KeyFile = "", "" }, "certificate required"},
		{func(s *conf.Topology) { s.TLS.CAFile = "" }, "unknown authority"},
		{func(s *conf.Topology) { s.Master = "other" }, "it does not monitor \"other\""},
	} {
		w := start(c.change)
		v := w.wait(c.want, func(v View) bool { return strings.Contains(v.Problem, c.want) })
		require.Contains(t, v.Problem, "lost quorum: 0 of 1 Sentinels answer")
		require.NotRegexp(t, "(weir|wrong)-password", v.Problem)
		w.Close()
	}
	// Without the right to channels, changes are noticed by polling.
	silent := start(func(s *conf.Topology) { s.User = "silent" })
	silent.wait("the problem", func(v View) bool {
		return v.Primary != "" && strings.Contains(v.Problem, "no notifications: SUBSCRIBE +switch-master: server replied")
	})

	w := start(func(*conf.Topology) {})
	require.Empty(t, w.waitPrimary(r.Servers[0].Addr()).Problem)
	r.Failover()
	w.waitPrimary(r.Servers[1].Addr())
	silent.waitPrimary(r.Servers[1].Addr())
}

// Sentinels that announce names.
func TestSentinelRealNames(t *testing.T) {
	t.Parallel()
	r := nettest.StartReplication(t, nettest.SentinelOptions{
		Replicas: 1, Lines: []string{"sentinel resolve-hostnames yes", "sentinel announce-hostnames yes"}, Host: "localhost",
	})
	_, port, _ := net.SplitHostPort(r.Servers[0].Addr())
	w := watch(t, r.SentinelAddrs(), func(o *Options) {
		o.Spec.Discover = false
		o.Servers = []Server{{Name: "one", Address: r.Servers[0].Addr(), Addresses: []netip.AddrPort{netip.MustParseAddrPort(r.Servers[0].Addr())}}}
	})
	v := w.waitPrimary("localhost:" + port)
	require.Equal(t, "one", v.Members[len(v.Members)-1].Name, "%+v", v)
	require.Empty(t, v.Problem)
}
