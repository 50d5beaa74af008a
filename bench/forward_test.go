package main

import (
	"io"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestMain makes the test binary also run the helpers, which the runs start.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && helpers()[os.Args[1]] != nil {
		os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// The bare forwarder returns the datagrams of the clients.
func TestBareForwards(t *testing.T) {
	p, err := newBare()
	require.NoError(t, err)
	self, err := os.Executable()
	require.NoError(t, err)
	rows, err := selectRows("udp-64-16,udp-1200-16")
	require.NoError(t, err)
	r := &runner{options: options{seconds: 1, threads: 2}, self: self, scratch: t.TempDir(), progress: io.Discard}
	for _, of := range rows {
		v, _, err := r.runOne(t.Context(), job{row: of, product: p, round: 1})
		require.NoError(t, err)
		require.Positive(t, v[metricRate])
	}
}
