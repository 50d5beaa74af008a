package promotion

// The shapes that user space and the BPF program share; see bpf/forward.c.

import (
	"encoding/binary"
	"net/netip"
)

// state is the state of a record.
type state = uint32

const (
	stateFree state = iota
	stateWatch
	stateForward
	stateCheck
	stateMoved
	stateTooBig
)

// address is an IP address in network order. An IPv4 address is in the last four bytes.
type address [16]byte

// port is a port in network order.
type port [2]byte

// key identifies the packets of one direction as they arrive.
type key struct {
	Source, Dest         address
	SourcePort, DestPort port
	Protocol             uint8
	_                    [3]byte
}

// direction describes the packets of one direction as they leave, and counts them.
type direction struct {
	source, dest         address
	sourcePort, destPort port
	arrives, leaves      uint32
	_                    uint32
	packets, bytes       uint64
	last                 uint64
}

// record describes a session. User space writes it while its state is free.
type record struct {
	state      state
	inside     uint32 // packets that are being forwarded and not counted yet
	directions [2]direction
}

// addressOf returns an address and port as they are in packets.
func addressOf(at netip.AddrPort) (address, port) {
	var a address
	if ip := at.Addr(); ip.Is4() {
		b := ip.As4()
		copy(a[12:], b[:])
	} else {
		a = ip.As16()
	}
	return a, port(binary.BigEndian.AppendUint16(nil, at.Port()))
}

// loopback is the index of the loopback interface in every network namespace.
const loopback = 1
