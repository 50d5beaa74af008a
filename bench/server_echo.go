package main

import (
	"context"
	"net"
	"syscall"

	"golang.org/x/net/ipv4"
)

// echoers is how many sockets an echo server has at its address; the kernel spreads the clients over them.
const echoers = 2

// datagramBatch is how many datagrams the echo server and the datagram clients take and give at once.
const datagramBatch = 64

// serveEcho is the echo subcommand: a UDP server that sends back what comes, in batches.
func serveEcho(address string) error {
	failed := make(chan error, echoers)
	for range echoers {
		conn, err := listenShared(address)
		if err != nil {
			return err
		}
		go func() { failed <- echo(ipv4.NewPacketConn(conn)) }()
	}
	return <-failed
}

// listenShared opens one of several UDP sockets at an address.
func listenShared(address string) (net.PacketConn, error) {
	const reusePort = 0xf // SO_REUSEPORT, which package syscall does not name
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		if e := raw.Control(func(fd uintptr) {
			err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, reusePort, 1)
			_ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUFFORCE, 8<<20)
		}); e != nil {
			return e
		}
		return err
	}}
	return config.ListenPacket(context.Background(), "udp4", address)
}

func echo(conn *ipv4.PacketConn) error {
	in := make([]ipv4.Message, datagramBatch)
	for i := range in {
		in[i].Buffers = [][]byte{make([]byte, 2048)}
	}
	for {
		n, err := conn.ReadBatch(in, 0)
		if err != nil {
			return err
		}
		for i := range in[:n] {
			in[i].Buffers[0] = in[i].Buffers[0][:in[i].N]
		}
		for done := 0; done < n; {
			sent, err := conn.WriteBatch(in[done:n], 0)
			if err != nil {
				return err
			}
			done += sent
		}
		for i := range in[:n] {
			in[i].Buffers[0] = in[i].Buffers[0][:cap(in[i].Buffers[0])]
		}
	}
}
