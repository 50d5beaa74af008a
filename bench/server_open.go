package main

import (
	"errors"
	"io"
	"net"
)

// serveOpen is the open subcommand: a server that accepts and closes, which is all that a tcp check needs.
func serveOpen(address string) error {
	ln, err := net.Listen("tcp4", address)
	if err != nil {
		return err
	}
	for {
		conn, err := ln.Accept()
		if err != nil {
			return err
		}
		_ = conn.Close()
	}
}

// ignoreEOF turns io.EOF into nil, for files that may still grow.
func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
