package soak

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The kernel of a killed server ends its streams. The client of a unix socket cannot tell that from a reset.
func TestDeathOfChildServerEndsUnixClient(t *testing.T) {
	now := time.Now()
	log := &faultLog{}
	j := newVerifier(log, []serverAddr{{name: "s2"}, {name: "s0"}}, map[string]bool{"s2": true})
	j.routes.begin(&randomConfig{listeners: []listener{{name: "l5", cluster: 1}}})
	p := &clientResult{listener: "l5", onUnix: true, begun: now, ended: now, outcome: outcomeReset, server: 0}
	r := &record{Phase: "relay", Reason: "client_closed", Cluster: "c1", Server: "s2", Time: now}
	require.Equal(t, "client and record disagree", j.verify(p, r, serverResult{}, false))
	log.begin(killed, "s2")()
	require.Empty(t, j.verify(p, r, serverResult{}, false))
	p.onUnix = false
	require.Equal(t, "client and record disagree", j.verify(p, r, serverResult{}, false))
}
