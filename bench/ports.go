package main

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
)

// Ports are chosen below the kernel's default range for outgoing connections (32768 and up): a load that opens tens of
// thousands of connections could otherwise use a port between choosing and binding it.
const (
	firstPort = 12000
	lastPort  = 32000
)

// freePorts returns n different ports that nothing on 127.0.0.1 listens on.
func freePorts(n int) ([]int, error) {
	var ports []int
	next := firstPort + rand.IntN(lastPort-firstPort)
	for range lastPort - firstPort {
		if next++; next > lastPort {
			next = firstPort
		}
		ln, err := net.Listen("tcp4", loopback(next))
		if err != nil {
			continue
		}
		_ = ln.Close()
		if ports = append(ports, next); len(ports) == n {
			return ports, nil
		}
	}
	return nil, errors.New("no free loopback ports")
}

// loopback is 127.0.0.1 with a port.
func loopback(port int) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}

// loopbackRange lists n different loopback addresses with the same port: 127.1.0.1, 127.1.0.2, …
func loopbackRange(n, port int) []string {
	addresses := make([]string, n)
	for i := range addresses {
		ip := net.IPv4(127, 1, byte(i/250), byte(i%250+1))
		addresses[i] = net.JoinHostPort(ip.String(), strconv.Itoa(port))
	}
	return addresses
}
