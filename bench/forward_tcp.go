package main

// The lower bound of TCP forwarding in user space: an epoll loop that accepts, connects, and copies both directions. It
// has no limits, no timeouts and no second server; what it does not expect ends the session. Each loop has a listening
// socket of its own, registers each socket once, edge-triggered, and waits as weir's loops do. A direction whose reads
// fill the buffer is spliced from then on.

import (
	"errors"
	"net/netip"
	"runtime"

	"golang.org/x/sys/unix"
)

const (
	tcpBuffer  = 16 << 10
	tcpPipe    = 1 << 20
	tcpSplice  = 768 << 10
	tcpAccepts = 16 // per wake-up
)

// serveForwardTCP is the forward subcommand for TCP: a number of loops, each with a socket at the address.
func serveForwardTCP(address, to string, loops int) error {
	listen, err := parseSocketAddress(address)
	if err != nil {
		return err
	}
	server, err := parseSocketAddress(to)
	if err != nil {
		return err
	}
	failed := make(chan error, loops)
	for range loops {
		fd, err := listenTCP(listen)
		if err != nil {
			return err
		}
		go func() { failed <- (&tcpLoop{listen: fd, server: server}).run() }()
	}
	return <-failed
}

func parseSocketAddress(text string) (*unix.SockaddrInet4, error) {
	at, err := netip.ParseAddrPort(text)
	if err != nil {
		return nil, err
	}
	return &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}, nil
}

func listenTCP(at *unix.SockaddrInet4) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	return fd, errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1),
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1),
		unix.Bind(fd, at), unix.Listen(fd, 4096),
	)
}

// tcpSide is one socket of a session, and the direction from it to the other one.
type tcpSide struct {
	fd       int
	other    *tcpSide
	readable bool
	fin      bool // it has sent a FIN, or is broken
	writable bool
	ended    bool   // its FIN was read and passed on
	pending  []byte // read and not yet sent to the other one
	pipe     [2]int // of a spliced direction; zero = none
	inPipe   int
}

// tcpLoop is one loop.
type tcpLoop struct {
	listen  int
	server  *unix.SockaddrInet4
	epfd    int
	sides   []*tcpSide // by descriptor
	scratch [tcpBuffer]byte
}

func (l *tcpLoop) run() (err error) {
	runtime.LockOSThread()
	if attr, err := unix.SchedGetAttr(0, 0); err == nil {
		attr.Runtime = forwardSlice
		_ = unix.SchedSetAttr(0, attr, 0)
	}
	if l.epfd, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return err
	}
	if err := unix.EpollCtl(l.epfd, unix.EPOLL_CTL_ADD, l.listen, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(l.listen)}); err != nil {
		return err
	}
	events := make([]unix.EpollEvent, 256)
	for {
		n := pollEvents(l.epfd, events)
		if n == 0 {
			yield()
			n = pollEvents(l.epfd, events)
		}
		if n == 0 {
			if n, err = unix.EpollWait(l.epfd, events, -1); err != nil && err != unix.EINTR {
				return err
			}
		}
		for _, ev := range events[:max(n, 0)] {
			if int(ev.Fd) == l.listen {
				l.accept()
				continue
			}
			if s := l.sides[ev.Fd]; s != nil {
				s.fin = s.fin || ev.Events&(unix.EPOLLHUP|unix.EPOLLERR|unix.EPOLLRDHUP) != 0
				s.readable = s.readable || s.fin || ev.Events&unix.EPOLLIN != 0
				s.writable = s.writable || ev.Events&unix.EPOLLOUT != 0
				l.forward(s)
			}
		}
	}
}

func (l *tcpLoop) accept() {
	for range tcpAccepts {
		fd, _, err := unix.Accept4(l.listen, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		if err != nil {
			return
		}
		server, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			_ = unix.Close(fd)
			continue
		}
		_ = unix.SetsockoptInt(server, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
		if err := unix.Connect(server, l.server); err != nil && err != unix.EINPROGRESS {
			_, _ = unix.Close(fd), unix.Close(server)
			continue
		}
		client, up := &tcpSide{fd: fd, writable: true}, &tcpSide{fd: server}
		client.other, up.other = up, client
		for _, s := range []*tcpSide{client, up} {
			for len(l.sides) <= s.fd {
				l.sides = append(l.sides, nil)
			}
			l.sides[s.fd] = s
			_ = unix.EpollCtl(l.epfd, unix.EPOLL_CTL_ADD, s.fd, &unix.EpollEvent{
				Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET, Fd: int32(s.fd),
			})
		}
	}
}

// forward moves what it can in both directions, and ends the session after both FINs or an error.
func (l *tcpLoop) forward(s *tcpSide) {
	if !l.move(s) || !l.move(s.other) || s.ended && s.other.ended {
		for _, s := range []*tcpSide{s, s.other} {
			l.sides[s.fd] = nil
			_ = unix.Close(s.fd)
			if s.pipe != [2]int{} {
				_, _ = unix.Close(s.pipe[0]), unix.Close(s.pipe[1])
			}
		}
	}
}

// move moves bytes from a socket to the other one. It returns false after an error.
func (l *tcpLoop) move(s *tcpSide) bool {
	for {
		switch ok := l.flush(s); {
		case !ok:
			return false
		case len(s.pending) > 0 || s.inPipe > 0, !s.readable, s.ended, !s.other.writable:
			return true
		}
		n, err := l.read(s)
		switch {
		case err == unix.EAGAIN:
			s.readable = false
			return true
		case err != nil:
			return false
		case n == 0:
			s.ended = true
			return unix.Shutdown(s.other.fd, unix.SHUT_WR) == nil
		}
	}
}

// read reads once, into the pipe or into the scratch buffer, from where it is sent at once. 0 is the end of the stream.
func (l *tcpLoop) read(s *tcpSide) (int, error) {
	if s.pipe != [2]int{} {
		n, err := unix.Splice(s.fd, nil, s.pipe[1], nil, tcpSplice, unix.SPLICE_F_MOVE|unix.SPLICE_F_NONBLOCK)
		s.inPipe += int(max(n, 0)) // -1 with an error
		return int(n), err
	}
	n, err := unix.Read(s.fd, l.scratch[:])
	if n <= 0 {
		return 0, err
	}
	if n < len(l.scratch) {
		s.readable = s.fin // the next bytes are another event
	} else if unix.Pipe2(s.pipe[:], unix.O_NONBLOCK|unix.O_CLOEXEC) == nil {
		_, _ = unix.FcntlInt(uintptr(s.pipe[1]), unix.F_SETPIPE_SZ, tcpPipe)
	}
	sent, err := unix.Write(s.other.fd, l.scratch[:n])
	if err == unix.EAGAIN {
		sent, err, s.other.writable = 0, nil, false
	}
	if err == nil && sent < n {
		s.pending, s.other.writable = append(s.pending, l.scratch[sent:n]...), false
	}
	return n, err
}

// flush sends what was kept. It returns false after an error.
func (l *tcpLoop) flush(s *tcpSide) bool {
	for s.other.writable && (len(s.pending) > 0 || s.inPipe > 0) {
		var n int
		var err error
		if len(s.pending) > 0 {
			n, err = unix.Write(s.other.fd, s.pending)
			s.pending = s.pending[max(n, 0):]
		} else {
			var moved int64
			moved, err = unix.Splice(s.pipe[0], nil, s.other.fd, nil, s.inPipe, unix.SPLICE_F_MOVE|unix.SPLICE_F_NONBLOCK)
			s.inPipe -= int(max(moved, 0))
		}
		switch {
		case err == unix.EAGAIN:
			s.other.writable = false
		case err != nil:
			return false
		}
	}
	return true
}
