package main

import (
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A proxy's connection for a client that only looked whether it listens arrives first. The pump leaves it alone.
func TestPumpAcceptsConnectionOfItsStream(t *testing.T) {
	server, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer server.Close()
	proxy, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer proxy.Close()
	probe, err := net.Dial("tcp4", server.Addr().String())
	require.NoError(t, err)
	require.NoError(t, probe.Close())
	down, err := net.Dial("tcp4", proxy.Addr().String())
	require.NoError(t, err)
	defer down.Close()
	forwarded := make(chan net.Addr, 1)
	go func() { // ends with down
		client, err := proxy.Accept()
		if err != nil {
			return
		}
		defer client.Close()
		conn, err := net.Dial("tcp4", server.Addr().String())
		if err != nil {
			return
		}
		defer conn.Close()
		forwarded <- conn.LocalAddr()
		block := make([]byte, 64)
		for {
			n, err := client.Read(block)
			if err != nil {
				return
			}
			conn.Write(block[:n])
		}
	}()
	up, err := acceptFrom(server, down)
	require.NoError(t, err)
	defer up.Close()
	require.Equal(t, (<-forwarded).String(), up.RemoteAddr().String())
	up.SetDeadline(time.Now().Add(time.Second))
	_, err = down.Write([]byte("x"))
	require.NoError(t, err)
	var b [1]byte
	_, err = up.Read(b[:])
	require.NoError(t, err)
	require.Equal(t, "x", string(b[:]), "nothing of the mark is left")
}
