package etcd

import (
	"context"
	"net"
	"sync"
	"time"
)

// dialer connects to endpoints. gRPC ends a connection with a message for which it waits five seconds if the other end does not read;
// close ends all connections at once, so that no store delays a stop.
type dialer struct {
	mu    sync.Mutex
	conns map[*dialedConn]struct{} // nil = closed
	next  time.Time                // not before
}

// dialPause is the time between two connections: gRPC connects again at once to a store that ends its connections.
const dialPause = 100 * time.Millisecond

func newDialer() *dialer { return &dialer{conns: map[*dialedConn]struct{}{}} }

// dialedConn is a connection that its dialer can close.
type dialedConn struct {
	net.Conn
	from *dialer
}

func (c *dialedConn) Close() error {
	c.from.mu.Lock()
	delete(c.from.conns, c)
	c.from.mu.Unlock()
	return c.Conn.Close()
}

// dial connects to an address, at most once in dialPause.
func (d *dialer) dial(ctx context.Context, address string) (net.Conn, error) {
	d.mu.Lock()
	now := time.Now()
	wait := max(0, d.next.Sub(now))
	d.next = now.Add(wait + dialPause)
	d.mu.Unlock()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	c := &dialedConn{conn, d}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.conns == nil {
		conn.Close()
		return nil, errClosed
	}
	d.conns[c] = struct{}{}
	return c, nil
}

// close ends all connections and lets no new ones begin.
func (d *dialer) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for c := range d.conns {
		c.Conn.Close()
	}
	d.conns = nil
}
