package main

import (
	"context"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// The API closes right after a stop: its request is then cancelled and complete at once, and must get its response.
func TestStopRequestIsAnsweredWhenTheAPICloses(t *testing.T) {
	d := &daemon{signals: &signals{requestStop: func() {}, stop: make(chan os.Signal, 1)}, stopped: make(chan struct{}), cut: 3}
	close(d.stopped)
	closed, cancel := context.WithCancel(context.Background())
	cancel()
	for range 200 {
		cut, err := (&operator{daemon: d}).Stop(closed, false)
		require.NoError(t, err)
		require.Equal(t, 3, cut)
	}
}
