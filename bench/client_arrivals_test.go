package main

import (
	"bytes"
	"encoding/json"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestArrivalsSeeSlowServer(t *testing.T) {
	q := &queueServers{workers: 8, service: time.Millisecond, factor: 200}
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	ended := make(chan error)
	go func() { ended <- q.accept(ln, true) }()
	var out bytes.Buffer
	a := arrivals{target: ln.Addr().String(), perSecond: 40, slowAfter: 300 * time.Millisecond, notice: 50 * time.Millisecond, length: time.Second}
	require.NoError(t, a.run(&out))
	require.NoError(t, ln.Close())
	require.Error(t, <-ended)
	var result arrivalsResult
	require.NoError(t, json.Unmarshal(out.Bytes(), &result))
	require.Zero(t, result.Failures)
	require.Positive(t, result.Sessions)
	require.Greater(t, result.P50, 150.0, "every counted session is one of the slow server")
	require.GreaterOrEqual(t, result.P99, result.P50)
}
