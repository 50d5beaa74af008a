package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"log"
	"net"
	"time"
)

// The bulk protocol: the client sends for how many milliseconds it wants bytes (8 bytes, big endian); the server sends
// that long, then the number of bytes sent so far (8 bytes, big endian), and closes. So a stream that lost or gained
// bytes is detected, and the proxy need not support half-closed sessions.
const bulkHeader = 8

// sourceChunk is what one write hands to the kernel: large, so that the system call itself costs little, and small
// enough for a processor's second-level cache.
const sourceChunk = 256 << 10

// serveSource is the source subcommand: it serves the bulk protocol until it is killed.
func serveSource(address string) error {
	ln, err := net.Listen("tcp4", address)
	if err != nil {
		return err
	}
	chunk := make([]byte, sourceChunk)
	for {
		conn, err := ln.Accept()
		if err != nil {
			return err
		}
		go func() { // ends with its connection, or with the process
			defer conn.Close()
			if err := sendFor(conn, chunk); err != nil {
				log.Printf("source: %v", err)
			}
		}()
	}
}

// sendFor serves one stream of the bulk protocol. A client that closes without a request is no error.
func sendFor(conn io.ReadWriter, chunk []byte) error {
	var header [bulkHeader]byte
	if _, err := io.ReadFull(conn, header[:]); err == io.EOF {
		return nil
	} else if err != nil {
		return fmt.Errorf("reading the wish: %w", err)
	}
	var sent uint64
	deadline := time.Now().Add(time.Duration(binary.BigEndian.Uint64(header[:])) * time.Millisecond)
	for time.Now().Before(deadline) {
		n, err := conn.Write(chunk)
		sent += uint64(n)
		if err != nil {
			return fmt.Errorf("after %d bytes: %w", sent, err)
		}
	}
	binary.BigEndian.PutUint64(header[:], sent)
	_, err := conn.Write(header[:])
	return err
}
