package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestProcessIsStoppedWithItsChildren(t *testing.T) {
	// The shell ignores the interrupt, so that stop has to kill both.
	p, err := startProcess("sh", t.TempDir(), []string{"sh", "-c", "trap '' INT; sleep 60 & echo up; while :; do wait; done"})
	require.NoError(t, err)
	require.NoError(t, p.waitPrinted(context.Background(), "up"))
	children, err := descendants(p.pid())
	require.NoError(t, err)
	require.Len(t, children, 1)
	p.stop()
	require.Eventually(t, func() bool {
		_, err := readPss(children[0])
		return err != nil
	}, 5*time.Second, 5*time.Millisecond)
}

func TestProcessThatEndsEarlyIsReported(t *testing.T) {
	p, err := startProcess("sh", t.TempDir(), []string{"sh", "-c", "echo wrong port; exit 3"})
	require.NoError(t, err)
	defer p.stop()
	err = p.waitListening(context.Background(), "127.0.0.1:1")
	require.ErrorContains(t, err, "exit status 3")
	require.ErrorContains(t, err, "wrong port")
}

func TestGenerateStopsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := generate(ctx, []string{"sleep", "60"})
	require.ErrorIs(t, err, context.Canceled)
}

func TestFreePortsAreDifferent(t *testing.T) {
	ports, err := freePorts(3)
	require.NoError(t, err)
	seen := map[int]bool{}
	for _, port := range ports {
		seen[port] = true
	}
	require.Len(t, seen, 3)
}

func TestLoopbackRange(t *testing.T) {
	addresses := loopbackRange(1000, 80)
	require.Equal(t, "127.1.0.1:80", addresses[0])
	require.Equal(t, "127.1.3.250:80", addresses[999])
	seen := map[string]bool{}
	for _, address := range addresses {
		seen[address] = true
	}
	require.Len(t, seen, 1000)
}

func TestBulkStreamIsCounted(t *testing.T) {
	client, server := net.Pipe()
	failed := make(chan error, 1)
	go func() {
		failed <- sendFor(server, make([]byte, 5000))
		_ = server.Close()
	}()
	n, err := readStream(client, 20*time.Millisecond)
	require.NoError(t, err)
	require.NoError(t, <-failed)
	require.Positive(t, n)
	require.Zero(t, n%5000)
}

// shortened is a stream that lost its first bytes on the way.
type shortened struct{ io.Reader }

func (shortened) Write(b []byte) (int, error) { return len(b), nil }

func TestBulkStreamThatLostBytesIsNoticed(t *testing.T) {
	trailer := "\x00\x00\x00\x00\x00\x00\x00\x0a" // ten bytes were sent
	n, err := readStream(shortened{strings.NewReader("0123456789" + trailer)}, time.Second)
	require.NoError(t, err)
	require.EqualValues(t, 10, n)
	_, err = readStream(shortened{strings.NewReader("123456789" + trailer)}, time.Second)
	require.ErrorContains(t, err, "want 10")
	_, err = readStream(shortened{strings.NewReader("")}, time.Second)
	require.Error(t, err)
}

func TestLastBytes(t *testing.T) {
	stream := []byte("0123456789abcdefghij")
	for size := 1; size <= len(stream); size++ {
		var last lastBytes
		for chunk := range bytesChunks(stream, size) {
			last.add(chunk)
		}
		require.Equal(t, "cdefghij", string(last[:]), size)
	}
}

// bytesChunks cuts b into pieces of the given size.
func bytesChunks(b []byte, size int) func(func([]byte) bool) {
	return func(yield func([]byte) bool) {
		r := bytes.NewBuffer(b)
		for r.Len() > 0 && yield(r.Next(size)) {
		}
	}
}
