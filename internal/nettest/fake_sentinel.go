package nettest

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// FakeSentinel is a host that answers as a Redis Sentinel does for one monitored name, with the state that the test sets.
type FakeSentinel struct {
	*Host
	Master string

	mu          sync.Mutex
	state       SentinelState
	subscribers map[*fakeClient]struct{}
	asked       int
}

// SentinelState is what a FakeSentinel answers.
type SentinelState struct {
	Host     string // of the primary; "" = the name is not monitored
	Port     string
	Epoch    uint64
	Replicas []string // "IP PORT FLAGS"
	ID       string   // its own name; "" = an error
	Deny     string   // a command word that is answered by NOPERM
	Mute     bool     // commands are read and not answered
	Handler  Handler  // serves new connections instead of a Sentinel; nil = a Sentinel
}

// fakeClient is a connection with its lock for writes.
type fakeClient struct {
	mu sync.Mutex
	w  io.Writer
}

func (c *fakeClient) send(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	io.WriteString(c.w, text)
}

// StartFakeSentinel runs a fake Sentinel for a monitored name until the test ends.
func StartFakeSentinel(t testing.TB, master string, s SentinelState) *FakeSentinel {
	t.Helper()
	f := &FakeSentinel{Master: master, state: s, subscribers: map[*fakeClient]struct{}{}}
	f.Host = Start(t, f.serve)
	return f
}

// SentinelAt returns the state of a Sentinel that names an address.
func SentinelAt(addr string, epoch uint64, replicas ...string) SentinelState {
	host, port, _ := net.SplitHostPort(addr)
	return SentinelState{Host: host, Port: port, Epoch: epoch, Replicas: replicas}
}

// Set changes the state without a notification.
func (f *FakeSentinel) Set(s SentinelState) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.state = s
}

// Switch changes the state and publishes +switch-master.
func (f *FakeSentinel) Switch(s SentinelState) {
	f.mu.Lock()
	old := f.state
	f.state = s
	f.mu.Unlock()
	f.Publish("+switch-master", strings.Join([]string{f.Master, old.Host, old.Port, s.Host, s.Port}, " "))
}

// Publish sends a message to the subscribers.
func (f *FakeSentinel) Publish(channel, text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for c := range f.subscribers {
		c.send(respArray("message", channel, text))
	}
}

// Subscribers returns the number of subscriptions.
func (f *FakeSentinel) Subscribers() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.subscribers)
}

// Asked returns how often the address of the primary has been asked for.
func (f *FakeSentinel) Asked() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked
}

func (f *FakeSentinel) serve(ctx context.Context, conn *net.TCPConn) {
	f.mu.Lock()
	handler := f.state.Handler
	f.mu.Unlock()
	if handler != nil {
		handler(ctx, conn)
		return
	}
	c := &fakeClient{w: conn}
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.subscribers, c)
	}()
	r := bufio.NewReader(conn)
	for {
		words, err := readCommand(r)
		if err != nil {
			return
		}
		f.answer(c, words)
	}
}

// readCommand reads a command: an array of bulk strings.
func readCommand(r *bufio.Reader) ([]string, error) {
	number := func(mark byte) (int, error) {
		line, err := r.ReadString('\n')
		if err != nil {
			return 0, err
		}
		if line[0] != mark {
			return 0, fmt.Errorf("not a command: %q", line)
		}
		return strconv.Atoi(strings.TrimSpace(line[1:]))
	}
	n, err := number('*')
	if err != nil {
		return nil, err
	}
	var words []string
	for range n {
		size, err := number('$')
		if err != nil {
			return nil, err
		}
		word := make([]byte, size+2)
		if _, err := io.ReadFull(r, word); err != nil {
			return nil, err
		}
		words = append(words, string(word[:size]))
	}
	return words, nil
}

func (f *FakeSentinel) answer(c *fakeClient, words []string) {
	f.mu.Lock()
	s := f.state
	defer f.mu.Unlock()
	command := strings.ToUpper(words[0])
	if command == "SENTINEL" {
		command = strings.ToUpper(words[1])
	}
	switch {
	case s.Mute:
	case s.Deny == command:
		c.send("-NOPERM this user has no permissions to run this command\r\n")
	case command == "PING" && len(f.subscribers) > 0:
		c.send(respArray("pong", ""))
	case command == "SUBSCRIBE":
		f.subscribers[c] = struct{}{}
		c.send("*3\r\n" + respBulk("subscribe") + respBulk(words[1]) + ":1\r\n")
	case command == "MYID" && s.ID != "":
		c.send(respBulk(s.ID))
	case command == "GET-MASTER-ADDR-BY-NAME" && (s.Host == "" || words[2] != f.Master):
		f.asked++
		c.send("*-1\r\n")
	case command == "GET-MASTER-ADDR-BY-NAME":
		f.asked++
		c.send(respArray(s.Host, s.Port))
	case (command == "MASTER" || command == "REPLICAS") && (s.Host == "" || words[2] != f.Master):
		c.send("-ERR No such master with that name\r\n")
	case command == "MASTER":
		c.send(respArray("name", f.Master, "ip", s.Host, "port", s.Port, "flags", "master", "config-epoch", strconv.FormatUint(s.Epoch, 10)))
	case command == "REPLICAS":
		var text strings.Builder
		fmt.Fprintf(&text, "*%d\r\n", len(s.Replicas))
		for _, r := range s.Replicas {
			fields := strings.Fields(r)
			text.WriteString(respArray("name", fields[0]+":"+fields[1], "ip", fields[0], "port", fields[1], "runid", "", "flags", fields[2]))
		}
		c.send(text.String())
	default:
		c.send("-ERR unknown command\r\n")
	}
}

func respBulk(s string) string { return fmt.Sprintf("$%d\r\n%s\r\n", len(s), s) }

func respArray(words ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(words))
	for _, w := range words {
		b.WriteString(respBulk(w))
	}
	return b.String()
}
