package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync/atomic"
	"time"
)

// queueServers are servers with few workers each: a session waits until a worker of its server is free, takes a worker's time,
// and gets one byte. The first server becomes slower when any of them is told so.
type queueServers struct {
	workers int
	service time.Duration // mean time of a session; uniform within ±20 %
	factor  float64       // by which the first server becomes slower
	slow    atomic.Bool
}

// The request of a session is one byte.
const (
	askService = 'a'
	askSlow    = 's' // makes the first server slow; answered at once
)

// serve is the queue subcommand: it serves at n addresses, counted from the first, until one fails.
func (q *queueServers) serve(first string, port, n int) error {
	ip, err := netip.ParseAddr(first)
	if err != nil {
		return err
	}
	failed := make(chan error)
	for i := range n {
		ln, err := net.Listen("tcp4", netip.AddrPortFrom(ip, uint16(port)).String())
		if err != nil {
			return err
		}
		go func() { failed <- q.accept(ln, i == 0) }() // ends with the process
		ip = ip.Next()
	}
	return <-failed
}

func (q *queueServers) accept(ln net.Listener, first bool) error {
	free := make(chan struct{}, q.workers)
	for {
		conn, err := ln.Accept()
		if err != nil {
			return err
		}
		go func() { // ends with its connection
			defer conn.Close()
			_ = q.session(conn, free, first) // a client that goes away is no error of the server
		}()
	}
}

func (q *queueServers) session(conn io.ReadWriter, free chan struct{}, first bool) error {
	var request [1]byte
	if _, err := io.ReadFull(conn, request[:]); err != nil {
		return err
	}
	switch request[0] {
	case askSlow:
		q.slow.Store(true)
	case askService:
		free <- struct{}{}
		time.Sleep(q.needs(first))
		<-free
	default:
		return fmt.Errorf("unknown request %q", request[0])
	}
	_, err := conn.Write(request[:])
	return err
}

// needs returns the time that a session takes.
func (q *queueServers) needs(first bool) time.Duration {
	d := float64(q.service) * (0.8 + 0.4*rand.Float64())
	if first && q.slow.Load() {
		d *= q.factor
	}
	return time.Duration(d)
}
