package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/ipv4"
)

// datagramLoad is what the datagrams subcommand is to do.
type datagramLoad struct {
	target string
	flows  int // clients, each with a socket of its own
	window int // datagrams that each has under way
	size   int // bytes
	bursts bool
	fresh  bool // every exchange is of a new client
	length time.Duration
}

// datagramResult is what it prints, as JSON.
type datagramResult struct {
	Trips   int64   `json:"trips"` // there and back
	Lost    int64   `json:"lost"`
	Seconds float64 `json:"seconds"`
}

// lossAfter is how long a client waits for an answer before it takes what is under way for lost.
const lossAfter = time.Second

// runDatagrams is the datagrams subcommand: clients in a closed loop. Either each answer is followed by the next datagram
// at once, or a client waits for all the answers to a burst before it sends the next.
func runDatagrams(out io.Writer, load datagramLoad) error {
	var trips, lost atomic.Int64
	var stop atomic.Bool
	client := load.answering
	if load.bursts {
		client = load.bursting
	}
	if load.fresh {
		client = load.coming
	}
	errs := make([]error, load.flows)
	var clients sync.WaitGroup
	begin := time.Now()
	for i := range load.flows {
		clients.Go(func() { errs[i] = client(&stop, &trips, &lost) })
	}
	time.Sleep(load.length)
	stop.Store(true)
	seconds := time.Since(begin).Seconds()
	done := trips.Load()
	clients.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(datagramResult{Trips: done, Lost: lost.Load(), Seconds: seconds})
}

// datagramClient is a client's socket and its buffers.
type datagramClient struct {
	conn    *net.UDPConn
	batch   *ipv4.PacketConn
	in, out []ipv4.Message
}

func (load datagramLoad) dial() (*datagramClient, error) {
	addr, err := net.ResolveUDPAddr("udp4", load.target)
	if err != nil {
		return nil, err
	}
	conn, err := net.DialUDP("udp4", nil, addr)
	if err != nil {
		return nil, err
	}
	c := &datagramClient{conn: conn, batch: ipv4.NewPacketConn(conn), in: make([]ipv4.Message, load.window), out: make([]ipv4.Message, load.window)}
	payload := make([]byte, load.size)
	for i := range load.window {
		c.in[i].Buffers = [][]byte{make([]byte, load.size+1)}
		c.out[i].Buffers = [][]byte{payload}
	}
	return c, nil
}

// send sends so many datagrams.
func (c *datagramClient) send(n int) error {
	if n == 1 {
		_, err := c.conn.Write(c.out[0].Buffers[0])
		return err
	}
	for n > 0 {
		sent, err := c.batch.WriteBatch(c.out[:n], 0)
		if err != nil {
			return err
		}
		n -= sent
	}
	return nil
}

// receive takes what has come, after waiting for the first of it; 0 means that nothing comes any more.
func (c *datagramClient) receive(size int) (int, error) {
	n, err := c.batch.ReadBatch(c.in, 0)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	for i := range c.in[:n] {
		if c.in[i].N != size {
			return 0, fmt.Errorf("a datagram of %d bytes came back as one of %d", size, c.in[i].N)
		}
	}
	return n, nil
}

// answering sends the next datagram as soon as an answer comes.
func (load datagramLoad) answering(stop *atomic.Bool, trips, lost *atomic.Int64) error {
	c, err := load.dial()
	if err != nil {
		return err
	}
	defer c.conn.Close()
	if err := c.send(load.window); err != nil {
		return err
	}
	var patience time.Time
	for under := load.window; under > 0; {
		if now := time.Now(); now.After(patience) {
			patience = now.Add(lossAfter / 4)
			_ = c.conn.SetReadDeadline(now.Add(lossAfter))
		}
		n, err := c.receive(load.size)
		if err != nil {
			return err
		}
		if n == 0 {
			lost.Add(int64(under))
			n, patience = under, time.Time{}
		} else {
			trips.Add(int64(n))
		}
		if stop.Load() {
			under -= n
			continue
		}
		if err := c.send(n); err != nil {
			return err
		}
	}
	return nil
}

// bursting sends a window of datagrams at once, and the next when all are answered.
func (load datagramLoad) bursting(stop *atomic.Bool, trips, lost *atomic.Int64) error {
	c, err := load.dial()
	if err != nil {
		return err
	}
	defer c.conn.Close()
	var patience time.Time
	for !stop.Load() {
		if err := c.send(load.window); err != nil {
			return err
		}
		if now := time.Now(); now.After(patience) {
			patience = now.Add(lossAfter / 4)
			_ = c.conn.SetReadDeadline(now.Add(lossAfter))
		}
		for under := load.window; under > 0; {
			n, err := c.receive(load.size)
			if err != nil {
				return err
			}
			if n == 0 {
				lost.Add(int64(under))
				patience = time.Time{}
				break
			}
			trips.Add(int64(n))
			under -= n
		}
	}
	return nil
}

// coming is a new client for every datagram.
func (load datagramLoad) coming(stop *atomic.Bool, trips, lost *atomic.Int64) error {
	for !stop.Load() {
		c, err := load.dial()
		if err != nil {
			return err
		}
		_ = c.conn.SetReadDeadline(time.Now().Add(lossAfter))
		err = c.send(1)
		n := 0
		if err == nil {
			n, err = c.receive(load.size)
		}
		_ = c.conn.Close()
		if err != nil {
			return err
		}
		trips.Add(int64(n))
		lost.Add(int64(1 - n))
	}
	return nil
}

// flowsOpen is what the flows subcommand prints once all flows are there.
const flowsOpen = "all flows are open"

// runFlows is the flows subcommand: it opens flows, proves each by one answer, and keeps their sockets until in ends.
func runFlows(in io.Reader, out io.Writer, target string, flows int) error {
	load := datagramLoad{target: target, window: 1, size: 64}
	for i := range flows {
		c, err := load.dial()
		if err != nil {
			return err
		}
		defer c.conn.Close()
		answered := false
		for range 5 {
			if err := c.send(1); err != nil {
				return err
			}
			_ = c.conn.SetReadDeadline(time.Now().Add(lossAfter))
			n, err := c.receive(load.size)
			if err != nil {
				return fmt.Errorf("flow %d: %w", i, err)
			}
			if answered = n > 0; answered {
				break
			}
		}
		if !answered {
			return fmt.Errorf("flow %d: no answer", i)
		}
	}
	fmt.Fprintln(out, flowsOpen)
	_, err := io.Copy(io.Discard, in)
	return err
}

// answers tells whether a datagram to an address is answered.
func answers(address string) bool {
	c, err := datagramLoad{target: address, window: 1, size: 1}.dial()
	if err != nil {
		return false
	}
	defer c.conn.Close()
	_ = c.conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	if err := c.send(1); err != nil {
		return false
	}
	n, err := c.receive(1)
	return err == nil && n == 1
}
