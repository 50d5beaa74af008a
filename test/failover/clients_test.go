package failover_test

import (
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// clients write through weir, each over one connection that it replaces when it fails, as the clients of Redis do.
type clients struct {
	addr string
	stop chan struct{}
	wg   sync.WaitGroup

	mu       sync.Mutex
	writes   []write
	sessions []*session
	attempts []attempt
}

// write is an acknowledged write of a unique key.
type write struct {
	key          string
	began, acked time.Time
	server       string
}

// session is a connection that a server has answered.
type session struct {
	began, identified time.Time
	ended             time.Time // zero = open
	server            string
}

// attempt is a new connection with one request, of a client that opens one for each request.
type attempt struct {
	began time.Time
	took  time.Duration
	err   error
}

// startClients starts writers and clients that connect for each request.
func startClients(addr string, writers, connectors int) *clients {
	c := &clients{addr: addr, stop: make(chan struct{})}
	for i := range writers {
		c.wg.Go(func() { c.writeLoop(i) })
	}
	for range connectors {
		c.wg.Go(c.connectLoop)
	}
	return c
}

func (c *clients) close() {
	close(c.stop)
	c.wg.Wait()
}

// pause waits, and reports whether the clients go on.
func (c *clients) pause(d time.Duration) bool {
	select {
	case <-c.stop:
		return false
	case <-time.After(d):
		return true
	}
}

// requestTimeout is the timeout of a request, as clients of Redis use it.
const requestTimeout = 3 * time.Second

func (c *clients) writeLoop(id int) {
	for n := 0; c.pause(5 * time.Millisecond); n++ {
		c.writeSession(fmt.Sprintf("w:%d:%d", id, n))
	}
}

// writeSession connects, finds out which server answers, and writes until an error.
func (c *clients) writeSession(prefix string) {
	s := &session{began: time.Now()}
	conn, err := dialRedis(c.addr, requestTimeout)
	if err != nil {
		return
	}
	defer conn.Close()
	config, err := conn.do(2*holdTimeout, "CONFIG", "GET", "port") // a held session waits
	if err != nil || len(config) != 2 {
		return
	}
	s.identified, s.server = time.Now(), net.JoinHostPort("127.0.0.1", config[1])
	c.mu.Lock()
	c.sessions = append(c.sessions, s)
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		s.ended = time.Now()
	}()
	for i := 0; c.pause(time.Millisecond); i++ {
		w := write{key: fmt.Sprintf("%s:%d", prefix, i), began: time.Now(), server: s.server}
		if _, err := conn.do(requestTimeout, "SET", w.key, "value"); err != nil {
			return
		}
		w.acked = time.Now()
		c.mu.Lock()
		c.writes = append(c.writes, w)
		c.mu.Unlock()
	}
}

// connectLoop opens a connection for each request.
func (c *clients) connectLoop() {
	for c.pause(10 * time.Millisecond) {
		a := attempt{began: time.Now()}
		conn, err := dialRedis(c.addr, 2*holdTimeout)
		if err == nil {
			_, err = conn.do(2*holdTimeout, "PING")
			conn.Close()
		}
		a.err, a.took = err, time.Since(a.began)
		c.mu.Lock()
		c.attempts = append(c.attempts, a)
		c.mu.Unlock()
	}
}

// acknowledged returns the number of acknowledged writes so far.
func (c *clients) acknowledged() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.writes)
}

// firstOn returns when a server first answered a new session after a moment.
func (c *clients) firstOn(server string, after time.Time) (time.Time, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.sessions {
		if s.server == server && s.identified.After(after) {
			return s.identified, true
		}
	}
	return time.Time{}, false
}

// missing returns which acknowledged writes a server does not have.
func (c *clients) missing(t *testing.T, server string) (lost []write) {
	t.Helper()
	conn, err := dialRedis(server, 5*time.Second)
	require.NoError(t, err)
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	const batch = 500
	for from := 0; from < len(c.writes); from += batch {
		part := c.writes[from:min(from+batch, len(c.writes))]
		for _, w := range part {
			require.NoError(t, conn.send("EXISTS", w.key))
		}
		for _, w := range part {
			texts, err := conn.read()
			require.NoError(t, err)
			if texts[0] != "1" {
				lost = append(lost, w)
			}
		}
	}
	return lost
}
