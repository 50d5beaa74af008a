package engine

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"weir/conf"
)

// A check of a server at the client's port goes to its own port, with the PROXY header that the server expects.
func TestCheckOfServerAtClientPort(t *testing.T) {
	server := &conf.Server{Name: "s", SendProxy: "v2", Address: conf.Address{Addr: netip.MustParseAddrPort("10.0.0.1:0"), SamePort: true}}
	target, ok := checkTarget(&conf.Cluster{Name: "c"}, &conf.Check{Type: "tcp", Port: 8080}, server, nil)
	require.True(t, ok)
	require.Equal(t, "10.0.0.1:8080", target.Address)
	require.Equal(t, "v2", target.SendProxy)

	server.Address = conf.Address{Host: "db", SamePort: true}
	known := addresses{"db": {netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")}}
	target, _ = checkTarget(&conf.Cluster{Name: "c"}, &conf.Check{Type: "tcp", Port: 8080}, server, known)
	require.Equal(t, []string{"10.0.0.1:8080", "10.0.0.2:8080"}, []string{target.Address, target.More})
	target, _ = checkTarget(&conf.Cluster{Name: "c"}, &conf.Check{Type: "agent", Port: 9999}, server, known)
	require.Empty(t, target.SendProxy)
}
