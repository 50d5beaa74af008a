package discovery

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nginxconf"
)

func TestScaleWeights(t *testing.T) {
	for _, x := range []struct{ weights, want []int }{
		{[]int{0, 0}, []int{1, 1}},
		{[]int{0, 5}, []int{1, 5}},
		{[]int{256, 1}, []int{256, 1}},
		{[]int{65535, 32768, 1, 0}, []int{256, 128, 1, 1}},
	} {
		require.Equal(t, x.want, scaleWeights(x.weights))
	}
}

func TestNginxTime(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"30": 30 * time.Second, "500ms": 500 * time.Millisecond, "1m30s": 90 * time.Second, "1m30": 90 * time.Second, "2h": 2 * time.Hour, "1d": 24 * time.Hour, "0": 0,
	} {
		got, err := nginxTime(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
	for _, text := range []string{"", "x", "-1", "1y", "s", "99999999999", "999999w"} {
		_, err := nginxTime(text)
		require.Error(t, err, text)
	}
}

func TestUpstreamServers(t *testing.T) {
	const config = `http { upstream web { server 10.0.0.1; server [::1] weight=9999 max_conns=5; server unix:/x.sock; server; server a weight=x; server b fail_timeout=x;
		server c:1 resolve slow_start=30s backup; keepalive 16; } server { upstream web { server 10.9.9.9:1; } } }
		stream { upstream db { server 10.0.0.2:3306 max_fails=0 fail_timeout=5; } }`
	list, err := nginxconf.Parse("nginx.conf", config)
	require.NoError(t, err)
	a, err := upstreamServers(list, "web", false)
	require.NoError(t, err)
	var addresses []string
	for _, e := range a.Entries {
		addresses = append(addresses, e.Address)
	}
	require.Equal(t, []string{"10.0.0.1:80", "[::1]:80", "unix:/x.sock"}, addresses)
	require.Equal(t, map[string]string{"weight": "256", "max_sessions": "5"}, a.Entries[1].Options)
	require.Equal(t, 3, a.BadN)
	a, err = upstreamServers(list, "web", true)
	require.NoError(t, err)
	require.Len(t, a.Entries, 1)
	a, err = upstreamServers(list, "db", false)
	require.NoError(t, err)
	require.Equal(t, map[string]string{"max_fails": "0", "fail_timeout": "5s"}, a.Entries[0].Options)
	_, err = upstreamServers(list, "none", false)
	require.ErrorContains(t, err, "upstream none not found")
}

func FuzzParseInstances(f *testing.F) {
	f.Add([]byte(`[{"Node": {"Address": "10.0.0.1"}, "Service": {"ID": "a", "Port": 1, "Weights": {"Passing": 7}, "Meta": {"x": "y"}}, "Checks": [{"Status": "passing"}]}, 7, {}]`))
	f.Fuzz(func(t *testing.T, text []byte) {
		a, err := parseInstances(text)
		if err == nil {
			require.LessOrEqual(t, len(a.Entries), MaxEntries)
		}
	})
}

func FuzzUpstreamServers(f *testing.F) {
	f.Add("upstream a { server 10.0.0.1 weight=5 fail_timeout=1m30s down; server b:1 backup; }")
	f.Fuzz(func(t *testing.T, text string) {
		list, err := nginxconf.Parse("nginx.conf", text)
		if err != nil {
			return
		}
		a, err := upstreamServers(list, "a", false)
		if err == nil {
			require.LessOrEqual(t, len(a.Entries), MaxEntries)
		}
	})
}
