package checks

import (
	"bytes"
	"context"
	"io"
	"net"
	"sync"
	"time"

	"weir/internal/nettest"
)

// received records what a scripted host received in all its connections.
type received struct {
	mu   sync.Mutex
	text []byte
}

func (h *received) add(p []byte) {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.text = append(h.text, p...)
}

func (h *received) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return string(h.text)
}

// recordScript waits for each cue, then sends the line after it, and closes at the end. It records in h what it
// received.
func recordScript(h *received, lines ...[2]string) nettest.Handler {
	return func(_ context.Context, c *net.TCPConn) {
		var got []byte
		buf := make([]byte, 4096)
		for _, line := range lines {
			for !bytes.Contains(got, []byte(line[0])) {
				n, err := c.Read(buf)
				got = append(got, buf[:n]...)
				h.add(buf[:n])
				if err != nil {
					return
				}
			}
			got = nil
			if _, err := io.WriteString(c, line[1]); err != nil {
				return
			}
		}
	}
}

// runScript is scripted without a record.
func runScript(lines ...[2]string) nettest.Handler { return recordScript(nil, lines...) }

// sendThenSilent sends a text and then nothing more, and keeps the connection open.
func sendThenSilent(text string) nettest.Handler {
	return func(ctx context.Context, c *net.TCPConn) {
		_, _ = io.WriteString(c, text)
		nettest.Silent(ctx, c)
	}
}

// sendPieces sends each part separately, with a pause between.
func sendPieces(pause time.Duration, parts ...string) nettest.Handler {
	return func(ctx context.Context, c *net.TCPConn) {
		for i, p := range parts {
			if i > 0 {
				select {
				case <-time.After(pause):
				case <-ctx.Done():
					return
				}
			}
			if _, err := io.WriteString(c, p); err != nil {
				return
			}
		}
		nettest.Silent(ctx, c)
	}
}

// sendEndless sends an introduction and then the same text forever.
func sendEndless(introduction, text string) nettest.Handler {
	return func(_ context.Context, c *net.TCPConn) {
		if _, err := io.WriteString(c, introduction); err != nil {
			return
		}
		block := bytes.Repeat([]byte(text), 1+32<<10/len(text))
		for {
			if _, err := c.Write(block); err != nil {
				return
			}
		}
	}
}
