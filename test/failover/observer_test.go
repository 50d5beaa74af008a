package failover_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"weir/internal/nettest"
)

// respClient is a small Redis client.
type respClient struct {
	net.Conn
	r *bufio.Reader
}

func dialRedis(addr string, timeout time.Duration) (*respClient, error) {
	c, err := net.DialTimeout("tcp", addr, timeout)
	if err != nil {
		return nil, err
	}
	return &respClient{c, bufio.NewReader(c)}, nil
}

// do sends a command and returns the texts of its reply.
func (c *respClient) do(timeout time.Duration, words ...string) ([]string, error) {
	c.SetDeadline(time.Now().Add(timeout))
	if err := c.send(words...); err != nil {
		return nil, err
	}
	return c.read()
}

func (c *respClient) send(words ...string) error {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(words))
	for _, w := range words {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(w), w)
	}
	_, err := io.WriteString(c, b.String())
	return err
}

// read reads a reply and returns its texts. An error reply is an error.
func (c *respClient) read() ([]string, error) {
	line, err := c.r.ReadString('\n')
	if err != nil {
		return nil, err
	}
	line = strings.TrimRight(line, "\r\n")
	switch line[0] {
	case '-':
		return nil, fmt.Errorf("%s", line)
	case '+', ':':
		return []string{line[1:]}, nil
	}
	n, err := strconv.Atoi(line[1:])
	if err != nil || n < 0 {
		return nil, err
	}
	if line[0] == '$' {
		text := make([]byte, n+2)
		_, err := io.ReadFull(c.r, text)
		return []string{string(text[:n])}, err
	}
	var all []string
	for range n {
		texts, err := c.read()
		if err != nil {
			return nil, err
		}
		all = append(all, texts...)
	}
	return all, nil
}

// observer asks every Sentinel for the primary every few milliseconds, independently of weir, and records what a majority
// of them named at each moment.
type observer struct {
	wg   sync.WaitGroup
	stop chan struct{}

	mu    sync.Mutex
	names []string // by Sentinel
	cut   []bool   // Sentinels that weir does not reach: they do not count
	log   []change
}

// change is a primary that a majority of the Sentinels names from a moment on.
type change struct {
	at      time.Time
	primary string
}

// observe watches Sentinels until the test ends.
func observe(t *testing.T, sentinels []string) *observer {
	t.Helper()
	o := &observer{stop: make(chan struct{}), names: make([]string, len(sentinels)), cut: make([]bool, len(sentinels))}
	for i, addr := range sentinels {
		o.wg.Go(func() { o.watch(i, addr) })
	}
	t.Cleanup(func() {
		close(o.stop)
		o.wg.Wait()
	})
	nettest.Wait(t, 30*time.Second, "the observer to see a primary", func() bool { return o.primary() != "" })
	return o
}

func (o *observer) watch(i int, addr string) {
	var c *respClient
	defer func() {
		if c != nil {
			c.Close()
		}
	}()
	for {
		select {
		case <-o.stop:
			return
		case <-time.After(2 * time.Millisecond):
		}
		if c == nil {
			var err error
			if c, err = dialRedis(addr, time.Second); err != nil {
				continue
			}
		}
		texts, err := c.do(time.Second, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", nettest.MasterName)
		if err != nil || len(texts) != 2 {
			c.Close()
			c = nil
			continue
		}
		o.set(i, net.JoinHostPort(texts[0], texts[1]))
	}
}

func (o *observer) set(i int, name string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.names[i] = name
	votes := 0
	for i, n := range o.names {
		if n == name && !o.cut[i] {
			votes++
		}
	}
	if votes > len(o.names)/2 && (len(o.log) == 0 || o.log[len(o.log)-1].primary != name) {
		o.log = append(o.log, change{time.Now(), name})
	}
}

// setCut makes a Sentinel count or not.
func (o *observer) setCut(i int, cut bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.cut[i] = cut
}

// primary returns the address that a majority names.
func (o *observer) primary() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.log) == 0 {
		return ""
	}
	return o.log[len(o.log)-1].primary
}

// since returns the changes after a moment.
func (o *observer) since(at time.Time) (out []change) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, c := range o.log {
		if c.at.After(at) {
			out = append(out, c)
		}
	}
	return out
}

// named reports whether a majority named a server at a moment between two.
func (o *observer) named(server string, from, to time.Time) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i, c := range o.log {
		ended := i+1 < len(o.log) && o.log[i+1].at.Before(from)
		if c.primary == server && c.at.Before(to) && !ended {
			return true
		}
	}
	return false
}

// replaced returns when a majority first named another primary than a server, after a moment at which it was the primary.
func (o *observer) replaced(server string, after time.Time) (time.Time, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i, c := range o.log {
		if i > 0 && c.at.After(after) && o.log[i-1].primary == server {
			return c.at, true
		}
	}
	return time.Time{}, false
}

// waitSwitch waits until a majority has named another primary since a moment.
func (o *observer) waitSwitch(t *testing.T, since time.Time) change {
	t.Helper()
	var list []change
	// Sentinels on a busy machine stop to fail over for 30 s after each delay of two (TILT mode).
	nettest.Wait(t, 3*time.Minute, "the Sentinels to name another primary", func() bool { list = o.since(since); return len(list) > 0 })
	return list[0]
}
