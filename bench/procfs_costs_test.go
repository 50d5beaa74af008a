package main

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestParseTimes(t *testing.T) {
	user, system, err := parseTimes([]byte("7 (a ) b) S 1 7 7 0 -1 4194560 100 0 0 0 250 130 9 9 20 0 1 0 5"))
	require.NoError(t, err)
	require.Equal(t, []time.Duration{2500 * time.Millisecond, 1300 * time.Millisecond}, []time.Duration{user, system})
	_, _, err = parseTimes([]byte("7 (a) S 1"))
	require.ErrorContains(t, err, "too few fields")
}

func TestParseSleeps(t *testing.T) {
	n, err := parseSleeps([]byte("Name:\ta\nvoluntary_ctxt_switches:\t41\nnonvoluntary_ctxt_switches:\t3\n"))
	require.NoError(t, err)
	require.EqualValues(t, 41, n)
	_, err = parseSleeps([]byte("Name:\ta\n"))
	require.Error(t, err)
}

func TestParseCounter(t *testing.T) {
	text := []byte("Tcp: A OutSegs\nTcp: 1 22\nTcpExt: OutSegs B\nTcpExt: 3 4\n")
	n, err := parseCounter(text, "Tcp:", "OutSegs")
	require.NoError(t, err)
	require.EqualValues(t, 22, n)
	_, err = parseCounter(text, "TcpExt:", "C")
	require.ErrorContains(t, err, "no C in TcpExt:")
}

func TestReadTimesOfThisProcess(t *testing.T) {
	begin, err := readTimes(os.Getpid())
	require.NoError(t, err)
	for now := begin; now.since(begin).user+now.since(begin).system < 2*tick; {
		_ = strings.Repeat("x", 1<<16)
		now, err = readTimes(os.Getpid())
		require.NoError(t, err)
	}
	counts, err := readTCPCounts()
	require.NoError(t, err)
	require.GreaterOrEqual(t, counts.sent, counts.since(counts).sent)
}

func TestParseIperf(t *testing.T) {
	bytes, seconds, err := parseIperf([]byte(`{"end": {"sum_received": {"bytes": 2e9, "seconds": 2.0}}}`))
	require.NoError(t, err)
	require.Equal(t, []float64{2e9, 2}, []float64{bytes, seconds})
	_, _, err = parseIperf([]byte(`{"error": "unable to connect"}`))
	require.ErrorContains(t, err, "unable to connect")
}
