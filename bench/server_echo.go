package main

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// echoers is the number of sockets of an echo server at its address, each with a thread; the kernel distributes the
// clients over them.
const echoers = 2

// echoPlaces is the number of slots of an echo server's batch; the others are the sizes of a slot.
const (
	echoPlaces = 64
	echoRoom   = 2048
	joinedRoom = 64 << 10
)

// serveEcho is the echo subcommand: a UDP server that sends datagrams back, in batches.
func serveEcho(address string, joined bool) error {
	failed := make(chan error, echoers)
	for range echoers {
		s, err := listenDatagrams(address)
		if err != nil {
			return err
		}
		room := echoRoom
		if joined {
			room = joinedRoom
			if err := s.join(); err != nil {
				return err
			}
		}
		go func() { failed <- echo(s, room) }()
	}
	return <-failed
}

func echo(s datagramSocket, room int) error {
	runtime.LockOSThread()
	b := newBatch(echoPlaces, room).keepAddresses()
	for {
		n, err := b.receive(s, unix.MSG_WAITFORONE)
		if err != nil {
			return err
		}
		b.prepareEcho(n)
		if err := b.send(s, n, 0); err != nil {
			return err
		}
		b.prepareReceive(n)
	}
}
