package admin

import (
	"container/list"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"sync"
	"time"
)

// limitedListener is a listener with a maximum number of clients. A client works while an authorized request of it is served,
// until its response is written. At the limit, a new client replaces one that does not work: the one that has been answered
// longest, else the one that has sent no complete request for longest, else one that may only read and does not read its
// response, or takes long for it. If all clients work, the new client is closed at once. Clients that may only read never hold all places.
type limitedListener struct {
	net.Listener
	limit func() int         // maximum number of clients; safe for concurrent use
	tls   func() *tls.Config // of new connections; nil = none
	freed chan struct{}      // signals a place or an answered client
	done  chan struct{}      // closed by Close
	once  sync.Once

	mu       sync.Mutex
	count    int        // guarded by mu, like all below
	reading  *list.List // of *limitedConn that work and may only read, oldest first
	fresh    *list.List // of *limitedConn that have sent no complete request, oldest first
	answered *list.List // of *limitedConn that wait for the next request or are being closed, oldest first
	ticks    uint64     // counts intervals of graceTick during which a new client has waited
}

func limitClients(ln net.Listener, limit func() int, tls func() *tls.Config) *limitedListener {
	return &limitedListener{Listener: ln, limit: limit, tls: tls, freed: make(chan struct{}, 1), done: make(chan struct{}), reading: list.New(), fresh: list.New(), answered: list.New()}
}

const (
	// acceptPause is the pause after an error of accept.
	acceptPause = 50 * time.Millisecond
	// A fresh client has graceTicks intervals to send a request before a new client takes its place, and as many after the
	// first bytes that it sends. They are counted, not measured, so that a process that does not get the CPU does not close
	// clients whose request it has not read.
	graceTicks = 3
	graceTick  = 15 * time.Millisecond
)

func (b *limitedListener) Accept() (net.Conn, error) {
	for {
		conn, err := b.Listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return nil, err
		case err != nil: // a temporary shortage must not end the API
			time.Sleep(acceptPause)
			continue
		}
		c := &limitedConn{Conn: &lateConn{Conn: conn}, listener: b, tls: b.tls()}
		if b.place(c) {
			return c.secured(), nil
		}
		conn.Close()
	}
}

// Close also ends the wait for a place. It returns when the address is free. Further calls do nothing.
func (b *limitedListener) Close() (err error) {
	b.once.Do(func() {
		close(b.done)
		err = b.Listener.Close()
	})
	return err
}

// place adds a client, at the limit in place of another one. It reports false if all clients work.
func (b *limitedListener) place(c *limitedConn) bool {
	for {
		room, wait := b.add(c)
		if !wait {
			return room
		}
		timer := time.NewTimer(graceTick)
		select {
		case <-timer.C:
			b.mu.Lock()
			b.ticks++
			b.mu.Unlock()
		case <-b.freed:
		case <-b.done:
			timer.Stop()
			return false
		}
		timer.Stop()
	}
}

// add adds a client, at the limit in place of another one. It reports false if there is no room, and whether there will be.
func (b *limitedListener) add(c *limitedConn) (room, wait bool) {
	b.mu.Lock()
	var oldest, slow *limitedConn
	room = b.count < b.limit()
	if e := b.answered.Front(); !room && e != nil {
		oldest, room = e.Value.(*limitedConn), true
	} else if !room && b.fresh.Len() > 0 {
		oldest = b.oldestSilent()
		room, wait = oldest != nil, oldest == nil
	} else if !room {
		slow = b.slowest()
		room = slow != nil
	}
	if room {
		b.count++
		c.tick = b.ticks
		c.list, c.element = b.fresh, b.fresh.PushBack(c)
	}
	b.mu.Unlock()
	switch {
	case slow != nil:
		slow.cut()
	case room && oldest != nil:
		oldest.Close()
	}
	return room, wait
}

// maxReaders returns how many clients whose requests may only read may work at once.
func (b *limitedListener) maxReaders() int { return max(1, b.limit()*3/4) }

// oldestSilent returns the oldest fresh client whose time to send a request is over, or nil. mu must be held.
func (b *limitedListener) oldestSilent() *limitedConn {
	for e := b.fresh.Front(); e != nil; e = e.Next() {
		c := e.Value.(*limitedConn)
		if b.ticks-c.tick < graceTicks {
			continue
		}
		if c.heard || !c.hasUnread() {
			return c
		}
		c.renew() // its first bytes have arrived and are read next
	}
	return nil
}

// signal wakes the wait for a place.
func (b *limitedListener) signal() {
	select {
	case b.freed <- struct{}{}:
	default:
	}
}

// closeIdle closes the connections that do not work.
func (b *limitedListener) closeIdle() {
	b.closeClients(b.answered)
	b.closeClients(b.fresh)
}

// drain closes the clients that have been answered, and gives those that have just connected their time to send a request: they
// cannot know that the listener is being closed.
func (b *limitedListener) drain() {
	for range graceTicks {
		b.closeClients(b.answered)
		b.mu.Lock()
		none := b.fresh.Len() == 0
		b.mu.Unlock()
		if none {
			return
		}
		time.Sleep(graceTick)
	}
	b.closeIdle()
}

func (b *limitedListener) closeClients(list *list.List) {
	b.mu.Lock()
	var clients []*limitedConn
	for e := list.Front(); e != nil; e = e.Next() {
		clients = append(clients, e.Value.(*limitedConn))
	}
	b.mu.Unlock()
	for _, c := range clients {
		c.Close()
	}
}

func (b *limitedListener) remove(c *limitedConn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c.closed {
		return
	}
	c.closed = true
	c.unlist()
	b.count--
	b.signal()
}

// discardLog discards the messages of net/http about misbehaving clients.
func discardLog() *log.Logger { return log.New(io.Discard, "", 0) }
