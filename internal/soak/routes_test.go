package soak

import (
	"bufio"
	"bytes"
	"io"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/clienthello"
)

func TestHellosHaveTheirNameAndAreReadWhole(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		h := randomHello(r)
		sent := append(bytes.Clone(h.bytes), magic[:]...)
		in := bufio.NewReader(bytes.NewReader(sent))
		got, err := readHello(in)
		require.NoError(t, err)
		require.Equal(t, h.bytes, got)
		rest, err := io.ReadAll(in)
		require.NoError(t, err)
		require.Equal(t, magic[:], rest)
		if len(h.bytes) > 0 {
			parsed, _, err := clienthello.Parse(bytes.Clone(h.bytes))
			require.NoError(t, err)
			require.Equal(t, h.name, string(parsed.ServerName))
		}
	}
}

// A session has to go to a cluster of its route under a configuration that was in force, with its server name in the record, and
// to the same cluster as other clients of its address.
func TestWrongRoutesAreProblems(t *testing.T) {
	at := netip.MustParseAddrPort(address(1, 1234))
	w := &randomConfig{listeners: []listener{{name: "l9", cluster: 1, routes: nameRoutes()}}}
	log := &faultLog{}
	j := newVerifier(log, nil, nil)
	j.routes.begin(w)
	other := w.clone()
	other.listeners[0].routes[0].shares = []share{{0, 1}}
	verify := func(name, route, cluster, sni string) string {
		p := &clientResult{listener: "l9", client: at}
		p.script.hello.name = name
		return j.verifyRoute(p, &record{Phase: "relay", Time: time.Now(), Route: route, Cluster: cluster, SNI: sni})
	}
	require.Empty(t, verify("a.soak.test", "exact", "c4", "a.soak.test"))
	require.Empty(t, verify("", defaultRoute, "c1", ""))
	require.Empty(t, verify("b.soak.test", defaultRoute, "c1", "b.soak.test"))
	require.Empty(t, verify("y.x.b.soak.test", "below", "c5", "y.x.b.soak.test"))
	require.Contains(t, verify("x.b.soak.test", "below", "c0", "x.b.soak.test"), "went to c5 before")
	require.Contains(t, verify("a.soak.test", "exact", "c0", "a.soak.test"), `want route "exact" to [4]; got "exact" to c0`)
	require.Contains(t, verify("a.soak.test", defaultRoute, "c1", "a.soak.test"), "want route")
	require.Contains(t, verify("a.soak.test", "exact", "c4", ""), "want server name")
	require.Contains(t, verify("c.soak.test", "both", "c0", "c.soak.test"), "want route", "of another network")
	j.routes.endOthers(j.routes.begin(other))
	require.Empty(t, verify("a.soak.test", "exact", "c0", "a.soak.test"), "after a reload")
	require.Empty(t, verify("a.soak.test", "exact", "c4", "a.soak.test"), "a moment before it")
	j.routes.periods[0].to = time.Now().Add(-time.Minute)
	require.Contains(t, verify("a.soak.test", "exact", "c4", "a.soak.test"), "want route")
}
