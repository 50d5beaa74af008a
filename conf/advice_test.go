package conf

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// A listener that anyone can reach is noted unless it limits idle sessions and those of one client.
func TestNotesAboutPublicListeners(t *testing.T) {
	const idle, perSource = "no idle timeout (client_idle_timeout)", "no limit per client (max_sessions_per_source)"
	for _, c := range []struct{ address, listener, cluster, want string }{
		{`":80"`, "", "", idle + " and " + perSource},
		{`"0.0.0.0:80"`, "", "", idle + " and " + perSource},
		{`"[::]:80-90"`, "", "", idle + " and " + perSource},
		{`["127.0.0.1:80", "203.0.113.5:80"]`, "", "", idle + " and " + perSource},
		{`":80"`, `allow = ["all"]`, "", idle + " and " + perSource},
		{`":80"`, `allow = ["0.0.0.0/0"]`, "", idle + " and " + perSource},
		{`":80"`, `max_sessions_per_source = 5`, "", idle},
		{`":80"`, `max_session_rate_per_source = 5`, "", idle},
		{`":80"`, `client_idle_timeout = "1h"`, "", perSource},
		{`":80"`, "", `server_idle_timeout = "1h"`, perSource},
		{`":80"`, "client_idle_timeout = \"1h\"\nmax_sessions_per_source = 5", "", ""},
		{`":53"`, `protocol = "udp"`, "", "no limit per client (max_flows_per_source)"},
		{`":53"`, "protocol = \"udp\"\nmax_flows_per_source = 5", "", ""},
		{`"127.0.0.1:80"`, "", "", ""},
		{`"[::1]:80"`, "", "", ""},
		{`"10.0.0.1:80"`, "", "", ""},
		{`"[fd00::1]:80"`, "", "", ""},
		{`"[fe80::1%eth0]:80"`, "", "", ""},
		{`"unix:/run/x"`, "", "", ""},
		{`":80"`, `allow = ["10.0.0.0/8"]`, "", ""},
		{`":80"`, `deny = ["all"]`, "", ""},
		{`":80"`, "accept_proxy = true\ntrusted_proxies = [\"10.0.0.1\"]", "", ""},
		{`":80"`, "accept_proxy = true\ntrusted_proxies = [\"all\"]", "", idle + " and " + perSource},
	} {
		cfg, err := Parse("weir.toml", []byte("[[listener]]\nname = \"a\"\ncluster = \"web\"\naddress = "+c.address+"\n"+c.listener+
			"\n[cluster.web]\n"+c.cluster+"\n[[cluster.web.level]]\nservers = [\"10.0.0.9:80\"]\n"))
		require.NoError(t, err, c)
		if c.want == "" {
			require.Empty(t, cfg.Notes, c)
			continue
		}
		require.Len(t, cfg.Notes, 1, c)
		require.Equal(t, "listener a is reachable from other networks and has "+c.want, cfg.Notes[0].Msg)
		require.Contains(t, cfg.Notes[0].String(), "weir.toml:4:")
	}
}
