package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"weir/conf"
)

func TestHAProxySplicesOnlyWhereAsked(t *testing.T) {
	f := forward{listen: "127.0.0.1:1", servers: []string{"127.0.0.1:2", "127.0.0.1:3"}, sessions: 9000, threads: 2}
	text := haproxyConfig(f)
	require.Contains(t, text, "maxconn 9300")
	require.Contains(t, text, "server s2 127.0.0.1:3")
	require.NotContains(t, text, "splice")
	f.bulk = true
	require.Contains(t, haproxyConfig(f), "option splice-request\n    option splice-response\n")
}

func TestStreamModule(t *testing.T) {
	module, err := streamModule("configure arguments: --with-http --with-stream --with-stream_ssl_module")
	require.NoError(t, err)
	require.Empty(t, module)
	_, err = streamModule("configure arguments: --with-stream_ssl_module")
	require.ErrorContains(t, err, "without the stream module")
	_, err = streamModule("--modules-path=/nowhere --with-stream=dynamic")
	require.ErrorContains(t, err, "not installed")
}

func TestNginxConfigs(t *testing.T) {
	text := nginxStreamConfig("/dir", "", forward{listen: "127.0.0.1:1", servers: []string{"127.0.0.1:2"}, threads: 3})
	require.NotContains(t, text, "load_module")
	require.Contains(t, text, "worker_processes 3;")
	require.Contains(t, text, "server 127.0.0.1:2 max_fails=0;")
	require.Contains(t, webConfig("/dir", []string{"127.0.0.1:2"}, 1), "listen 127.0.0.1:2 backlog=4096;")
}

func TestWeirConfigIsValid(t *testing.T) {
	for _, servers := range []int{1, 1000} {
		file := filepath.Join(t.TempDir(), "weir.toml")
		text := weirConfig(forward{listen: "127.0.0.1:1", servers: loopbackRange(servers, 2), threads: 2})
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		config, err := conf.Load(file)
		require.NoError(t, err)
		require.Empty(t, config.Warnings)
		require.Empty(t, config.Clusters[0].Checks)
		checked := forward{listen: "127.0.0.1:1", servers: loopbackRange(servers, 2), threads: 2, checks: true}
		require.NoError(t, os.WriteFile(file, []byte(weirConfig(checked)), 0o600))
		config, err = conf.Load(file)
		require.NoError(t, err)
		require.Equal(t, checkInterval, config.Clusters[0].Checks[0].Interval)
		require.Contains(t, haproxyConfig(checked), "timeout check 1s\n    default-server inter 2s fall 3 rise 2\n    server s1 127.1.0.1:2 check\n")
	}
}

func TestMethodsOfBalanceRows(t *testing.T) {
	f := forward{listen: "127.0.0.1:1", servers: loopbackRange(10, 2), threads: 2, methods: bestOfTwo}
	require.Contains(t, haproxyConfig(f), "\n    balance random(2)\n")
	require.Contains(t, nginxStreamConfig("/dir", "", f), "zone servers 64k;\n        random two least_conn;\n")
	file := filepath.Join(t.TempDir(), "weir.toml")
	require.NoError(t, os.WriteFile(file, []byte(weirConfig(f)), 0o600))
	config, err := conf.Load(file)
	require.NoError(t, err)
	require.Equal(t, "least_time", config.Clusters[0].Balance)
}
