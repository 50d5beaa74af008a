package main

import (
	"bytes"
	"crypto/rand"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The bare TCP forwarder moves every byte in both directions, small and spliced, and passes on both FINs.
func TestForwardTCP(t *testing.T) {
	ports, err := freePorts(2)
	require.NoError(t, err)
	ln, err := net.Listen("tcp4", loopback(ports[0]))
	require.NoError(t, err)
	defer ln.Close()
	go func() { // ends with the listener
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { // an echo that closes after its client; ends with the connection
				_, _ = io.Copy(conn, conn)
				_ = conn.(*net.TCPConn).CloseWrite()
				_ = conn.Close()
			}()
		}
	}()
	go func() { _ = serveForwardTCP(loopback(ports[1]), loopback(ports[0]), 1) }() // ends with the process
	for _, size := range []int{1, 5000, tcpBuffer, 3 << 20} {
		var conn net.Conn
		require.Eventually(t, func() bool { conn, err = net.Dial("tcp4", loopback(ports[1])); return err == nil }, 5*time.Second, time.Millisecond)
		require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
		sent := make([]byte, size)
		_, _ = rand.Read(sent)
		go func() { // ends with the write or at the deadline
			_, _ = conn.Write(sent)
			_ = conn.(*net.TCPConn).CloseWrite()
		}()
		got, err := io.ReadAll(conn)
		require.NoError(t, err, size)
		require.True(t, bytes.Equal(sent, got), size)
		require.NoError(t, conn.Close())
	}
}

func TestPumpCountsItsBytes(t *testing.T) {
	ports, err := freePorts(1)
	require.NoError(t, err)
	var out bytes.Buffer
	require.NoError(t, runPump(&out, loopback(ports[0]), loopback(ports[0]), 2, 50*time.Millisecond))
	require.Contains(t, out.String(), `"bytes":`)
}
