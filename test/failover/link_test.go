package failover_test

import (
	"io"
	"net"
	"sync"
	"testing"

	"weir/internal/nettest"
)

// link forwards connections to an address until it is cut. A cut link delivers nothing in either direction and closes
// nothing, as a network that drops packets.
type link struct {
	addr string

	mu   sync.Mutex
	cond *sync.Cond
	cut  bool
	end  bool
}

// startLink starts a link to an address.
func startLink(t *testing.T, to string) *link {
	t.Helper()
	l := &link{addr: nettest.Reserve(t)}
	l.cond = sync.NewCond(&l.mu)
	ln := nettest.Listen(t, l.addr)
	var wg sync.WaitGroup
	var conns []net.Conn
	closing := false
	add := func(c net.Conn) {
		l.mu.Lock()
		defer l.mu.Unlock()
		if closing {
			c.Close()
		}
		conns = append(conns, c)
	}
	wg.Go(func() {
		for {
			client, err := ln.Accept()
			if err != nil {
				return
			}
			add(client)
			wg.Go(func() {
				defer client.Close()
				if !l.wait() {
					return
				}
				server, err := net.Dial("tcp", to)
				if err != nil {
					return
				}
				add(server)
				defer server.Close()
				wg.Go(func() {
					defer client.Close()
					defer server.Close()
					l.copy(client, server)
				})
				l.copy(server, client)
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		l.mu.Lock()
		closing, l.end = true, true
		l.cond.Broadcast()
		for _, c := range conns {
			c.Close()
		}
		l.mu.Unlock()
		wg.Wait()
	})
	return l
}

// wait waits while the link is cut, and reports whether the test goes on.
func (l *link) wait() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.cut && !l.end {
		l.cond.Wait()
	}
	return !l.end
}

func (l *link) copy(to io.Writer, from io.Reader) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if !l.wait() || err != nil {
			return
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// setCut cuts or restores the link.
func (l *link) setCut(cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = cut
	l.cond.Broadcast()
}
