package admin

// Clients that do not read what they are sent. They keep places, and responses in memory, from others.

import (
	"errors"
	"os"
	"time"
)

// A write that waits for its client is divided into slices. A slice in which the client takes nothing counts as stalled. Slices
// are counted, not measured, so that a process that does not get the CPU takes no client for one that does not read.
const (
	writeSlice = 100 * time.Millisecond
	// memoryGrace is how many stalled slices let a response give way to another one that finds no room, and placeGrace how many let
	// a client that may only read give way to another one. At stallLimit it is disconnected in any case.
	memoryGrace = 3
	placeGrace  = 10
	stallLimit  = 50
)

// Write writes p. It ends with an error at the deadline, or when a client that may only read has stalled for too long.
func (c *limitedConn) Write(p []byte) (n int, err error) {
	defer c.stalled.Store(0)
	for {
		began := time.Now()
		until := began.Add(writeSlice)
		last := c.writeUntil.Load()
		if last != nil && last.Before(until) {
			until = *last
		}
		if err := c.Conn.SetWriteDeadline(until); err != nil {
			return n, err
		}
		wrote, err := c.Conn.Write(p[n:])
		n += wrote
		now := time.Now()
		switch {
		case !errors.Is(err, os.ErrDeadlineExceeded), last != nil && !now.Before(*last):
			return n, err
		case wrote > 0:
			c.stalled.Store(0)
		case now.Sub(began) > 2*writeSlice: // the process did not get the CPU
		case c.stalled.Add(1) >= stallLimit && c.reader.Load():
			c.dropUnread()
			return n, err
		}
	}
}

func (c *limitedConn) SetDeadline(t time.Time) error {
	c.setWriteUntil(t)
	return c.Conn.SetDeadline(t)
}

func (c *limitedConn) SetWriteDeadline(t time.Time) error {
	c.setWriteUntil(t)
	return c.Conn.SetWriteDeadline(t)
}

func (c *limitedConn) setWriteUntil(t time.Time) {
	if t.IsZero() {
		c.writeUntil.Store(nil)
	} else {
		c.writeUntil.Store(&t)
	}
}

// cut closes the connection of a client that does not read.
func (c *limitedConn) cut() {
	c.dropUnread()
	c.Close()
}

// dropUnread makes Close drop what the client has not read, which the kernel would keep for minutes.
func (c *limitedConn) dropUnread() {
	if late, ok := c.Conn.(*lateConn); ok {
		late.dropUnread()
	}
}

// slowest returns the client that may only read and gives its place to another one: the one whose write has stalled for longest, if
// that is longer than placeGrace, or else the one whose response has taken longest, if that is longer than slowResponse and no stream
// of events. It returns nil if there is none. mu must be held.
func (b *limitedListener) slowest() (slow *limitedConn) {
	most := int32(placeGrace - 1)
	for e := b.reading.Front(); e != nil; e = e.Next() {
		c := e.Value.(*limitedConn)
		if n := c.stalled.Load(); n > most {
			slow, most = c, n
		}
	}
	for e := b.reading.Front(); e != nil && slow == nil; e = e.Next() {
		c := e.Value.(*limitedConn)
		if time.Since(c.began) < slowResponse {
			break // all others have begun later
		}
		if !c.streams.Load() {
			slow = c
		}
	}
	return slow
}
