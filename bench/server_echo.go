package main

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// echoers is how many sockets an echo server has at its address, each with a thread; the kernel spreads the clients over them.
const echoers = 2

// echoBatch is how many datagrams an echo server takes and gives at once, and echoRoom the most that one may have.
const (
	echoBatch = 64
	echoRoom  = 2048
)

// serveEcho is the echo subcommand: a UDP server that sends back what comes, in batches.
func serveEcho(address string) error {
	failed := make(chan error, echoers)
	for range echoers {
		s, err := listenDatagrams(address)
		if err != nil {
			return err
		}
		go func() { failed <- echo(s) }()
	}
	return <-failed
}

func echo(s datagramSocket) error {
	runtime.LockOSThread()
	b := newBatch(echoBatch, echoRoom).named()
	for {
		n, err := b.receive(s, unix.MSG_WAITFORONE)
		if err != nil {
			return err
		}
		for i := range n {
			b.iovs[i].SetLen(int(b.msgs[i].len))
		}
		if err := b.send(s, n); err != nil {
			return err
		}
		b.room(n, echoRoom)
	}
}
