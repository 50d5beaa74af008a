package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// datagramLoad is the load of the datagrams subcommand.
type datagramLoad struct {
	target string
	flows  int  // clients, each with a socket of its own
	window int  // datagrams that each has under way
	size   int  // bytes
	joined bool // datagrams that are sent together leave, and may arrive, in one piece
	bursts bool
	fresh  bool // every exchange is of a new client
	rate   int  // requests a second, whatever comes back; 0 = as answers allow
	length time.Duration
}

// datagramResult is what it prints, as JSON.
type datagramResult struct {
	Trips   int64   `json:"trips"` // there and back
	Lost    int64   `json:"lost"`
	Seconds float64 `json:"seconds"`
}

// lossAfter is how long a client waits for a response before it counts outstanding datagrams as lost.
const lossAfter = time.Second

// groupCount is the number of threads that the clients share.
const groupCount = 2

// runDatagrams is the datagrams subcommand. Each response is followed by the next datagram immediately, or a client
// waits for all responses to a burst before it sends the next, or datagrams leave at a steady rate.
func runDatagrams(out io.Writer, load datagramLoad) error {
	all := make([]*clientGroup, min(groupCount, load.flows))
	for i := range all {
		all[i] = &clientGroup{load: load, flows: (load.flows + i) / len(all)}
	}
	errs := make([]error, len(all))
	var stop atomic.Bool
	var running sync.WaitGroup
	begin := time.Now()
	for i, c := range all {
		running.Go(func() { errs[i] = c.run(&stop) })
	}
	time.Sleep(load.length)
	stop.Store(true)
	seconds := time.Since(begin).Seconds()
	result := datagramResult{Seconds: seconds}
	for _, c := range all {
		result.Trips += c.trips.Load()
	}
	running.Wait()
	for _, c := range all {
		result.Lost += c.lost
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(result)
}

// clientGroup is a group of clients on one thread.
type clientGroup struct {
	load    datagramLoad
	flows   int
	clients []datagramClient
	epfd    int
	in, out *batch
	trips   atomic.Int64
	lost    int64
}

// datagramClient is one client.
type datagramClient struct {
	socket datagramSocket
	under  int       // datagrams under way
	heard  time.Time // when something came last
}

// open opens the socket of a client, and replaces it if it has one.
func (c *clientGroup) open(i int) error {
	s, err := dialDatagrams(c.load.target)
	if err != nil {
		return err
	}
	if c.clients[i].socket > 0 {
		c.clients[i].socket.close()
	}
	c.clients[i].socket = s
	if c.load.joined {
		if err := s.join(); err != nil {
			return err
		}
	}
	return unix.EpollCtl(c.epfd, unix.EPOLL_CTL_ADD, int(s), &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(i)})
}

func (c *clientGroup) send(i, n int) error {
	c.clients[i].under += n
	if c.load.joined {
		c.out.prepareSend(0, n, c.load.size)
		n = 1
	}
	return c.out.send(c.clients[i].socket, n, 0)
}

func (c *clientGroup) run(stop *atomic.Bool) error {
	runtime.LockOSThread()
	size, window := c.load.size, c.load.window
	if c.load.joined {
		c.in, c.out = newBatch(window, window*size+1), newBatch(1, window*size)
	} else {
		c.in, c.out = newBatch(max(window, 16), size+1), newBatch(window, size)
		for i := range window {
			c.out.prepareSend(i, 1, size)
		}
	}
	c.clients = make([]datagramClient, c.flows)
	defer func() {
		for i := range c.clients {
			if s := c.clients[i].socket; s > 0 {
				s.close()
			}
		}
	}()
	var err error
	if c.epfd, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return err
	}
	defer unix.Close(c.epfd)
	begin := time.Now()
	wait := int(lossAfter / 4 / time.Millisecond)
	for i := range c.clients {
		if err := c.open(i); err != nil {
			return err
		}
		c.clients[i].heard = begin
		if c.load.rate > 0 {
			wait = 1
			continue
		}
		if err := c.send(i, c.load.window); err != nil {
			return err
		}
	}
	events := make([]unix.EpollEvent, 256)
	for looked, sent := begin, 0; !c.done(stop); {
		n, err := unix.EpollWait(c.epfd, events, wait)
		if err != nil && err != unix.EINTR {
			return err
		}
		now := time.Now()
		for _, ev := range events[:max(n, 0)] {
			if err := c.receiveReplies(int(ev.Fd), now, stop.Load()); err != nil {
				return err
			}
		}
		if c.load.rate > 0 && !stop.Load() {
			for due := int(now.Sub(begin).Seconds() * float64(c.load.rate) / groupCount); sent < due; sent++ {
				if err := c.send(sent%c.flows, 1); err != nil {
					return err
				}
			}
		}
		if now.Sub(looked) > lossAfter/4 {
			looked = now
			if err := c.countLost(now, stop.Load()); err != nil {
				return err
			}
		}
	}
	return nil
}

// done reports whether there is nothing left to send or to receive.
func (c *clientGroup) done(stop *atomic.Bool) bool {
	if !stop.Load() {
		return false
	}
	for i := range c.clients {
		if c.clients[i].under > 0 {
			return false
		}
	}
	return true
}

// receiveReplies processes the datagrams received for a client and sends the next ones.
func (c *clientGroup) receiveReplies(i int, now time.Time, stopping bool) error {
	n, err := c.in.receive(c.clients[i].socket, unix.MSG_DONTWAIT)
	if err != nil || n == 0 {
		return err
	}
	places := n
	n = 0
	for k := range places {
		got := int(c.in.msgs[k].len)
		if got%c.load.size != 0 || got == 0 {
			return fmt.Errorf("datagrams of %d bytes came back as %d bytes", c.load.size, got)
		}
		n += got / c.load.size
	}
	if c.load.joined {
		c.in.prepareReceive(places)
	}
	client := &c.clients[i]
	client.heard = now
	client.under = max(client.under-n, 0) // what was taken for lost may come yet
	c.trips.Add(int64(n))
	switch {
	case stopping || c.load.rate > 0:
		return nil
	case c.load.bursts:
		if client.under > 0 {
			return nil
		}
		n = c.load.window
	case c.load.fresh:
		if err := c.open(i); err != nil {
			return err
		}
	}
	return c.send(i, n)
}

// countLost counts the outstanding datagrams of silent clients as lost and restarts these clients.
func (c *clientGroup) countLost(now time.Time, stopping bool) error {
	for i := range c.clients {
		client := &c.clients[i]
		if client.under == 0 || now.Sub(client.heard) < lossAfter {
			continue
		}
		n := client.under
		c.lost += int64(n)
		client.under, client.heard = 0, now
		if stopping || c.load.rate > 0 {
			continue
		}
		if c.load.bursts {
			n = c.load.window
		}
		if err := c.send(i, n); err != nil {
			return err
		}
	}
	return nil
}

// flowsOpen is what the flows subcommand prints when all flows exist.
const flowsOpen = "all flows are open"

// runFlows is the flows subcommand: it opens flows, verifies each by one response, and keeps their sockets until in
// ends.
func runFlows(in io.Reader, out io.Writer, target string, flows int) error {
	for i := range flows {
		s, err := dialDatagrams(target)
		if err != nil {
			return err
		}
		defer s.close()
		answered := false
		for tries := 0; tries < 5 && !answered; tries++ {
			if answered, err = s.ask(lossAfter); err != nil {
				return fmt.Errorf("flow %d: %w", i, err)
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

// answers reports whether a datagram to an address gets a response.
func answers(address string) bool {
	s, err := dialDatagrams(address)
	if err != nil {
		return false
	}
	defer s.close()
	answered, err := s.ask(200 * time.Millisecond)
	return err == nil && answered
}
