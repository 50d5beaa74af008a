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

// received is what a scripted host was told, over all its connections.
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

// scripted is a host that reads until each cue has come, then says its line, and closes at the end. It tells h what it
// was told.
func scripted(h *received, lines ...[2]string) nettest.Handler {
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

// script is a scripted host that nobody listens to.
func script(lines ...[2]string) nettest.Handler { return scripted(nil, lines...) }

// thenSilent says something first and then nothing more, and stays.
func thenSilent(text string) nettest.Handler {
	return func(ctx context.Context, c *net.TCPConn) {
		_, _ = io.WriteString(c, text)
		nettest.Silent(ctx, c)
	}
}

// pieces says each piece by itself, with a pause between.
func pieces(pause time.Duration, parts ...string) nettest.Handler {
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

// endless says the same for ever, after an introduction.
func endless(introduction, text string) nettest.Handler {
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
