package main

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"net"
	"time"
)

// pumpBlock is what one write of the pump hands to the kernel, and the most that one read takes.
const pumpBlock = 128 << 10

// pumpPatience is how long the streams may take to begin, and to end after their time.
const pumpPatience = 10 * time.Second

// runPump is the pump subcommand: one process is both ends of a few streams, as in a test that runs in one program. The
// bytes received count.
func runPump(out io.Writer, listen, target string, streams int, length time.Duration) error {
	ln, err := net.Listen("tcp4", listen)
	if err != nil {
		return err
	}
	defer ln.Close()
	ends := make(chan error, streams)
	var conns []net.Conn
	defer func() {
		for _, conn := range conns {
			conn.Close()
		}
	}()
	for range streams {
		down, err := net.Dial("tcp4", target)
		if err != nil {
			return err
		}
		conns = append(conns, down)
		up, err := acceptFrom(ln, down)
		if err != nil {
			return err
		}
		conns = append(conns, up)
	}
	begin := time.Now()
	deadline := begin.Add(length)
	for _, conn := range conns {
		conn.SetDeadline(deadline.Add(pumpPatience))
	}
	received := make(chan uint64, streams)
	for i := 0; i < len(conns); i += 2 {
		go func() { ends <- pumpInto(conns[i+1], deadline) }() // ends at the deadline; received below
		go func() {                                            // ends with the stream; received below
			received <- drainStream(conns[i])
		}()
	}
	var sum bulkResult
	var errs []error
	for range streams {
		errs = append(errs, <-ends)
		sum.Bytes += <-received
	}
	sum.Seconds = time.Since(begin).Seconds()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(sum)
}

// acceptFrom accepts the connection that a proxy makes for down. The proxy may make others, such as for a client that only
// looked whether it listens.
func acceptFrom(ln net.Listener, down net.Conn) (net.Conn, error) {
	deadline := time.Now().Add(pumpPatience)
	down.SetDeadline(deadline)
	ln.(*net.TCPListener).SetDeadline(deadline)
	var mark [8]byte
	rand.Read(mark[:])
	if _, err := down.Write(mark[:]); err != nil {
		return nil, err
	}
	for {
		up, err := ln.Accept()
		if err != nil {
			return nil, err
		}
		up.SetDeadline(deadline)
		var got [len(mark)]byte
		if _, err := io.ReadFull(up, got[:]); err == nil && got == mark {
			return up, nil
		}
		up.Close()
	}
}

// pumpInto writes until a deadline, then closes the connection.
func pumpInto(conn net.Conn, deadline time.Time) error {
	block := make([]byte, pumpBlock)
	for time.Now().Before(deadline) {
		if _, err := conn.Write(block); err != nil {
			return err
		}
	}
	return conn.Close()
}

// drainStream reads to the end of a stream and returns the number of bytes.
func drainStream(conn net.Conn) (bytes uint64) {
	block := make([]byte, pumpBlock)
	for {
		n, err := conn.Read(block)
		bytes += uint64(n)
		if err != nil {
			return bytes
		}
	}
}
