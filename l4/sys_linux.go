package l4

// The system calls of the data plane, wrapped once. All act on non-blocking descriptors and return at once, so they use
// RawSyscall, which saves the scheduler's bookkeeping on every call. The one exception is the epoll_wait that may
// sleep.
//
// Results are a count and errno 0, or 0 and an errno. EINTR never leaves this file. A count of 0 with errno 0 from a
// read is the end of the stream.

import (
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

type errno = syscall.Errno

const (
	eagain      = syscall.EAGAIN
	einprogress = syscall.EINPROGRESS
)

func recvBytes(fd int32, p []byte) (int, errno) { return recvFlags(fd, p, 0) }

// peekBytes is recvBytes that leaves the bytes in the socket.
func peekBytes(fd int32, p []byte) (int, errno) { return recvFlags(fd, p, unix.MSG_PEEK) }

func recvFlags(fd int32, p []byte, flags int) (int, errno) {
	for {
		n, _, e := syscall.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), uintptr(flags), 0, 0)
		if e == 0 {
			return int(n), 0
		}
		if e != syscall.EINTR {
			return 0, e
		}
	}
}

// sendBytes may take fewer bytes than offered. The socket's buffer is full then, and an EPOLLOUT edge follows.
func sendBytes(fd int32, p []byte, flags int) (int, errno) {
	for {
		n, _, e := syscall.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), uintptr(flags|unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT), 0, 0)
		if e == 0 {
			return int(n), 0
		}
		if e != syscall.EINTR {
			return 0, e
		}
	}
}

// spliceBytes moves at most max bytes between two descriptors, one of which is a pipe. EAGAIN does not tell which of
// the two would block: callers only splice into empty pipes and out of filled ones. SPLICE_F_MORE is never set: it
// makes the kernel delay the last segment by up to 200 ms.
func spliceBytes(from, to int32, max int) (int, errno) {
	for {
		n, _, e := syscall.RawSyscall6(unix.SYS_SPLICE, uintptr(from), 0, uintptr(to), 0, uintptr(max), unix.SPLICE_F_NONBLOCK|unix.SPLICE_F_MOVE)
		if e == 0 {
			return int(n), 0
		}
		if e != syscall.EINTR {
			return 0, e
		}
	}
}

func acceptSocket(fd int32, from *rawAddr) (int32, errno) {
	for {
		from.len = unix.SizeofSockaddrAny
		n, _, e := syscall.RawSyscall6(unix.SYS_ACCEPT4, uintptr(fd), uintptr(unsafe.Pointer(&from.any)), uintptr(unsafe.Pointer(&from.len)), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
		if e == 0 {
			return int32(n), 0
		}
		if e != syscall.EINTR {
			return -1, e
		}
	}
}

func openSocket(family, kind int) (int32, errno) {
	n, _, e := syscall.RawSyscall(unix.SYS_SOCKET, uintptr(family), uintptr(kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC), 0)
	if e != 0 {
		return -1, e
	}
	return int32(n), 0
}

// socketFamily returns the address family of a socket.
func socketFamily(fd int32) int {
	family, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return unix.AF_UNSPEC
	}
	return family
}

func bindSocket(fd int32, to *rawAddr) errno {
	_, _, e := syscall.RawSyscall(unix.SYS_BIND, uintptr(fd), uintptr(unsafe.Pointer(&to.any)), uintptr(to.len))
	return e
}

// connectSocket returns 0 if connected, EINPROGRESS if an event will report the result.
func connectSocket(fd int32, to *rawAddr) errno {
	_, _, e := syscall.RawSyscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&to.any)), uintptr(to.len))
	if e == syscall.EINTR { // a non-blocking connect continues
		return einprogress
	}
	return e
}

func listenFD(fd int32, backlog int) errno {
	_, _, e := syscall.RawSyscall(unix.SYS_LISTEN, uintptr(fd), uintptr(backlog), 0)
	return e
}

func shutdownWrite(fd int32) errno {
	_, _, e := syscall.RawSyscall(unix.SYS_SHUTDOWN, uintptr(fd), unix.SHUT_WR, 0)
	return e
}

// closeFD never retries: on Linux the descriptor is closed whatever close returns.
func closeFD(fd int32) {
	syscall.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0)
}

// resetFD closes with a RST instead of a FIN. Bytes queued in the kernel are dropped.
func resetFD(fd int32) {
	linger := unix.Linger{Onoff: 1}
	syscall.RawSyscall6(unix.SYS_SETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_LINGER, uintptr(unsafe.Pointer(&linger)), unsafe.Sizeof(linger), 0)
	closeFD(fd)
}

func setOption(fd int32, level, name, value int) errno {
	v := int32(value)
	_, _, e := syscall.RawSyscall6(unix.SYS_SETSOCKOPT, uintptr(fd), uintptr(level), uintptr(name), uintptr(unsafe.Pointer(&v)), unsafe.Sizeof(v), 0)
	return e
}

func getOption(fd int32, level, name int) (int, errno) {
	var v int32
	size := uint32(unsafe.Sizeof(v))
	_, _, e := syscall.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), uintptr(name), uintptr(unsafe.Pointer(&v)), uintptr(unsafe.Pointer(&size)), 0)
	return int(v), e
}

// socketError returns and clears the pending error of a socket.
func socketError(fd int32) errno {
	v, e := getOption(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if e != 0 {
		return e
	}
	return errno(v)
}

// unacked returns how many bytes the peer has not acknowledged (SIOCOUTQ, tcp(7)); a FIN counts as one.
func unacked(fd int32) int { return queued(fd, unix.TIOCOUTQ) }

// unread returns how many bytes wait in a socket (SIOCINQ, tcp(7)); a FIN does not count.
func unread(fd int32) int { return queued(fd, unix.TIOCINQ) }

func queued(fd int32, request uintptr) int {
	var v int32
	if _, _, e := syscall.RawSyscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(unsafe.Pointer(&v))); e != 0 {
		return 0
	}
	return int(v)
}

// finReceived reports whether the peer has sent a FIN after that many bytes. The kernel counts the FIN as a byte in
// tcpi_bytes_received (tcp_rcv_nxt_update in net/ipv4/tcp_input.c), and keeps the count when a reset follows.
func finReceived(fd int32, bytes uint64) bool {
	var info unix.TCPInfo
	return readTCPInfo(fd, &info) == 0 && info.Bytes_received == bytes+1
}

// readTCPInfo reads the kernel's data about a TCP connection. It fails for other sockets.
func readTCPInfo(fd int32, info *unix.TCPInfo) errno {
	size := uint32(unsafe.Sizeof(*info))
	_, _, e := syscall.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.IPPROTO_TCP, unix.TCP_INFO, uintptr(unsafe.Pointer(info)), uintptr(unsafe.Pointer(&size)), 0)
	return e
}

func localAddr(fd int32, to *rawAddr) errno {
	to.len = unix.SizeofSockaddrAny
	_, _, e := syscall.RawSyscall(unix.SYS_GETSOCKNAME, uintptr(fd), uintptr(unsafe.Pointer(&to.any)), uintptr(unsafe.Pointer(&to.len)))
	return e
}

// originalDestination returns the destination that a connection had before netfilter redirected it, or none.
func originalDestination(fd int32) ownAddress {
	const soOriginalDst = 80 // SO_ORIGINAL_DST, IP6T_SO_ORIGINAL_DST
	for _, level := range [...]uintptr{unix.SOL_IP, unix.SOL_IPV6} {
		var at rawAddr
		at.len = unix.SizeofSockaddrAny
		_, _, e := syscall.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), level, soOriginalDst, uintptr(unsafe.Pointer(&at.any)), uintptr(unsafe.Pointer(&at.len)), 0)
		if e != 0 {
			continue
		}
		if ip, port, _, ok := (*sockaddr)(at.bytes()).get(at.len); ok {
			return makeOwnAddress(&ip, port)
		}
	}
	return ownAddress{}
}

func openPipe() (r, w int32, e errno) {
	var p [2]int32
	_, _, e = syscall.RawSyscall(unix.SYS_PIPE2, uintptr(unsafe.Pointer(&p)), unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	return p[0], p[1], e
}

func setPipeSize(fd int32, size int) errno {
	_, _, e := syscall.RawSyscall(unix.SYS_FCNTL, uintptr(fd), unix.F_SETPIPE_SZ, uintptr(size))
	return e
}

func openEpoll() (int32, errno) {
	n, _, e := syscall.RawSyscall(unix.SYS_EPOLL_CREATE1, unix.EPOLL_CLOEXEC, 0, 0)
	return int32(n), e
}

func openEventFD() (int32, errno) {
	n, _, e := syscall.RawSyscall(unix.SYS_EVENTFD2, 0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC, 0)
	return int32(n), e
}

func signalEventFD(fd int32) {
	one := uint64(1)
	syscall.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&one)), unsafe.Sizeof(one))
}

func drainEventFD(fd int32) {
	var v uint64
	syscall.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&v)), unsafe.Sizeof(v))
}

func epollControl(epfd int32, op int, fd int32, events uint32, lo, hi int32) errno {
	ev := unix.EpollEvent{Events: events, Fd: lo, Pad: hi}
	_, _, e := syscall.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(epfd), uintptr(op), uintptr(fd), uintptr(unsafe.Pointer(&ev)), 0, 0)
	return e
}

// epollPoll returns events without waiting.
func epollPoll(epfd int32, events []unix.EpollEvent) int {
	n, _, e := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(epfd), uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(len(events)), 0, 0, 0)
	if e != 0 {
		return 0
	}
	return int(n)
}

// epollSleep waits for events; ms < 0 waits without limit. It uses Syscall: the runtime may give the processor to
// another goroutine and can stop the world meanwhile.
func epollSleep(epfd int32, events []unix.EpollEvent, ms int) int {
	n, _, e := syscall.Syscall6(unix.SYS_EPOLL_PWAIT, uintptr(epfd), uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(len(events)), uintptr(ms), 0, 0)
	if e != 0 {
		return 0
	}
	return int(n)
}

func schedYield() {
	syscall.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0)
}

func threadID() int32 {
	id, _, _ := syscall.RawSyscall(unix.SYS_GETTID, 0, 0, 0)
	return int32(id)
}

// shortenSlice sets the time slice of the calling thread (sched_setattr(2), sched_runtime with the ordinary policy:
// Linux 6.12 and later, without privileges). On older kernels it has no effect, at the cost of some latency.
func shortenSlice(d time.Duration) {
	attr, err := unix.SchedGetAttr(0, 0)
	if err != nil || attr.Policy != unix.SCHED_NORMAL {
		return
	}
	attr.Runtime = uint64(d)
	_ = unix.SchedSetAttr(0, attr, 0)
}
