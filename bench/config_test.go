package main

import (
	"testing"

	"github.com/BurntSushi/toml"
	"github.com/stretchr/testify/require"
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

func TestWeirConfigIsTOML(t *testing.T) {
	var config struct {
		Listener []struct{ Address string }
		Cluster  map[string]struct{ Level []struct{ Servers []string } }
	}
	_, err := toml.Decode(weirConfig(forward{listen: "127.0.0.1:1", servers: loopbackRange(1000, 2), threads: 2}), &config)
	require.NoError(t, err)
	require.Equal(t, "127.0.0.1:1", config.Listener[0].Address)
	require.Len(t, config.Cluster["c"].Level[0].Servers, 1000)
}
