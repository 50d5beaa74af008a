package main

// Datagram batches by direct system calls. Through the runtime's poller and one goroutine per client, clients and echo
// server used more CPU than the proxies, and would have been what was measured.

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// datagramSocket is a UDP socket over IPv4, connected or bound. Its calls block only if asked to.
type datagramSocket int

func openDatagrams(address string) (datagramSocket, unix.Sockaddr, error) {
	at, err := parseSocketAddress(address)
	if err != nil {
		return -1, nil, err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, nil, fmt.Errorf("socket: %w", err)
	}
	return datagramSocket(fd), at, nil
}

// dialDatagrams opens a socket that is connected to an address.
func dialDatagrams(address string) (datagramSocket, error) {
	s, to, err := openDatagrams(address)
	if err != nil {
		return -1, err
	}
	if err := unix.Connect(int(s), to); err != nil {
		s.close()
		return -1, fmt.Errorf("connect to %s: %w", address, err)
	}
	return s, nil
}

// listenDatagrams opens one of several sockets at an address.
func listenDatagrams(address string) (datagramSocket, error) {
	s, at, err := openDatagrams(address)
	if err != nil {
		return -1, err
	}
	_ = unix.SetsockoptInt(int(s), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20)
	if err := unix.SetsockoptInt(int(s), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
		s.close()
		return -1, fmt.Errorf("share %s: %w", address, err)
	}
	if err := unix.Bind(int(s), at); err != nil {
		s.close()
		return -1, fmt.Errorf("listen on %s: %w", address, err)
	}
	return s, nil
}

// ask sends a small datagram and waits for its response; it returns false on timeout.
func (s datagramSocket) ask(timeout time.Duration) (bool, error) {
	wait := unix.NsecToTimeval(timeout.Nanoseconds())
	if err := unix.SetsockoptTimeval(int(s), unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait); err != nil {
		return false, err
	}
	const size = 64
	b := newBatch(1, size)
	b.prepareSend(0, 1, size)
	if err := b.send(s, 1, 0); err != nil {
		return false, err
	}
	n, err := b.receive(s, 0)
	if err == nil && n == 1 && b.msgs[0].len != size {
		err = fmt.Errorf("a datagram of %d bytes came back as one of %d", size, b.msgs[0].len)
	}
	return n == 1, err
}

func (s datagramSocket) close() { _ = unix.Close(int(s)) }

// join makes datagrams that were sent in one piece arrive in one piece (UDP_GRO, udp(7)).
func (s datagramSocket) join() error {
	if err := unix.SetsockoptInt(int(s), unix.SOL_UDP, unix.UDP_GRO, 1); err != nil {
		return fmt.Errorf("have datagrams joined: %w", err)
	}
	return nil
}

// batch has slots for datagrams that are received or sent together. A slot holds a datagram, or several joined ones of
// one size.
type batch struct {
	msgs     []message
	iovs     []unix.Iovec
	names    []unix.RawSockaddrInet4
	controls []segmentSize
	space    []byte
	size     int // bytes of room in each place
}

// message is the kernel's struct mmsghdr.
type message struct {
	hdr unix.Msghdr
	len uint32
}

// segmentSize is the control message with the size of the datagrams joined in a slot: the kernel writes four bytes of
// it and reads two.
type segmentSize struct {
	head unix.Cmsghdr
	size [8]byte
}

func newBatch(n, size int) *batch {
	b := &batch{
		msgs: make([]message, n), iovs: make([]unix.Iovec, n), names: make([]unix.RawSockaddrInet4, n),
		controls: make([]segmentSize, n), space: make([]byte, n*size), size: size,
	}
	for i := range n {
		b.iovs[i].Base = unsafe.SliceData(b.space[i*size:])
		h := &b.msgs[i].hdr
		h.Iov = &b.iovs[i]
		h.SetIovlen(1)
		h.Control = (*byte)(unsafe.Pointer(&b.controls[i]))
	}
	b.prepareReceive(n)
	return b
}

// keepAddresses makes slots carry the address of the sender, to which replies return.
func (b *batch) keepAddresses() *batch {
	for i := range b.msgs {
		b.msgs[i].hdr.Name = (*byte)(unsafe.Pointer(&b.names[i]))
		b.msgs[i].hdr.Namelen = unix.SizeofSockaddrInet4
	}
	return b
}

// received returns the datagrams received in a slot.
func (b *batch) received(i int) []byte { return b.space[i*b.size:][:b.msgs[i].len] }

// from returns the batch without its first n slots; both share the memory.
func (b *batch) from(n int) batch {
	return batch{msgs: b.msgs[n:], iovs: b.iovs[n:], controls: b.controls[n:], space: b.space[n*b.size:], size: b.size}
}

// prepareReceive prepares the first n slots to receive.
func (b *batch) prepareReceive(n int) {
	for i := range n {
		b.iovs[i].SetLen(b.size)
		b.msgs[i].hdr.SetControllen(int(unsafe.Sizeof(segmentSize{})))
	}
}

// prepareEcho prepares what was received in the first n slots to be sent back unchanged.
func (b *batch) prepareEcho(n int) {
	for i := range n {
		b.iovs[i].SetLen(int(b.msgs[i].len))
		if b.msgs[i].hdr.Controllen > 0 {
			b.segment(i, int(binary.NativeEndian.Uint32(b.controls[i].size[:])))
		}
	}
}

// prepareSend prepares a slot with datagrams of one size to be sent.
func (b *batch) prepareSend(i, n, size int) {
	b.iovs[i].SetLen(n * size)
	b.msgs[i].hdr.SetControllen(0)
	if n > 1 {
		b.segment(i, size)
	}
}

// segment makes the kernel split a slot into datagrams when it is sent.
func (b *batch) segment(i, size int) {
	c := &b.controls[i]
	c.head.Level, c.head.Type = unix.SOL_UDP, unix.UDP_SEGMENT
	c.head.SetLen(unix.CmsgLen(2))
	binary.NativeEndian.PutUint16(c.size[:], uint16(size))
	b.msgs[i].hdr.SetControllen(int(unsafe.Sizeof(*c)))
}

// receive reads datagrams from a socket into free slots; with unix.MSG_WAITFORONE it waits for the first. 0 means that
// there are none.
func (b *batch) receive(s datagramSocket, flags int) (int, error) {
	n, e := b.call(unix.SYS_RECVMMSG, s, b.msgs, flags)
	if e == unix.EAGAIN || e == unix.EINTR {
		return 0, nil
	}
	if e != 0 {
		return 0, fmt.Errorf("receive: %w", e)
	}
	return n, nil
}

// send sends the first n slots. With unix.MSG_DONTWAIT, a full socket is an error.
func (b *batch) send(s datagramSocket, n, flags int) error {
	for done := 0; done < n; {
		sent, e := b.call(unix.SYS_SENDMMSG, s, b.msgs[done:n], flags)
		if e != 0 && e != unix.EINTR {
			return fmt.Errorf("send: %w", e)
		}
		done += sent
	}
	return nil
}

func (b *batch) call(number uintptr, s datagramSocket, msgs []message, flags int) (int, unix.Errno) {
	system := unix.Syscall6
	if flags&unix.MSG_DONTWAIT != 0 {
		system = unix.RawSyscall6 // it need not be known to the scheduler
	}
	n, _, e := system(number, uintptr(s), uintptr(unsafe.Pointer(&msgs[0])), uintptr(len(msgs)), uintptr(flags), 0, 0)
	runtime.KeepAlive(b)
	if e != 0 {
		return 0, e
	}
	return int(n), 0
}
