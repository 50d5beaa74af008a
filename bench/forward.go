package main

// A lower bound: the least that a program has to do to forward datagrams, each client from a socket of its own. It
// receives and sends in batches, lets the kernel split runs of one size to one destination (UDP_SEGMENT), and waits as
// weir's loops do. It has no limits, no timeouts and no second server; flows never end, and an error ends it.

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	forwardPlaces = 256
	forwardSlice  = 100_000 // nanoseconds: the shortest time slice there is
	listening     = -1      // the listening socket's mark in events
)

// serveForward is the forward subcommand: a number of loops, each with a socket at the address.
func serveForward(address, to string, loops int) error {
	failed := make(chan error, loops)
	for range loops {
		s, err := listenDatagrams(address)
		if err != nil {
			return err
		}
		go func() { failed <- forwardFrom(s, to) }()
	}
	return <-failed
}

// forwardedFlow is a client and its socket towards the server.
type forwardedFlow struct {
	client  unix.RawSockaddrInet4
	server  datagramSocket
	waiting []int // places of the batch in which it has something
}

// forwardLoop is one loop.
type forwardLoop struct {
	socket   datagramSocket
	to       string
	epfd     int
	flows    []forwardedFlow
	of       map[unix.RawSockaddrInet4]int
	fromAll  *batch // of clients
	fromOne  *batch // of the server
	used     int    // places of fromOne whose datagrams are in down
	up, down *segmentJoiner
	touched  []int
}

func forwardFrom(s datagramSocket, to string) error {
	runtime.LockOSThread()
	if attr, err := unix.SchedGetAttr(0, 0); err == nil {
		attr.Runtime = forwardSlice
		_ = unix.SchedSetAttr(0, attr, 0) // without it, it is a little slower
	}
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return err
	}
	l := &forwardLoop{
		socket: s, to: to, epfd: epfd, of: map[unix.RawSockaddrInet4]int{},
		fromAll: newBatch(forwardPlaces, echoRoom).keepAddresses(), fromOne: newBatch(forwardPlaces, echoRoom),
		up: newJoiner(), down: newJoiner(),
	}
	if err := l.watch(s, listening); err != nil {
		return err
	}
	events := make([]unix.EpollEvent, forwardPlaces)
	for {
		yield()
		n := pollEvents(epfd, events)
		if n == 0 {
			yield()
			n = pollEvents(epfd, events)
		}
		if n == 0 {
			if n, err = unix.EpollWait(epfd, events, -1); err != nil && err != unix.EINTR {
				return err
			}
		}
		for _, ev := range events[:max(n, 0)] {
			if ev.Fd == listening {
				err = l.takeRequests()
			} else {
				err = l.takeReplies(&l.flows[ev.Fd])
			}
			if err != nil {
				return err
			}
		}
		if err := l.flush(); err != nil {
			return err
		}
	}
}

func yield() { _, _, _ = unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0) }

// pollEvents polls all sockets of an epoll descriptor without blocking.
func pollEvents(epfd int, events []unix.EpollEvent) int {
	n, _, e := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(epfd), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), 0, 0, 0)
	if e != 0 {
		return 0
	}
	return int(n)
}

func (l *forwardLoop) watch(s datagramSocket, mark int32) error {
	return unix.EpollCtl(l.epfd, unix.EPOLL_CTL_ADD, int(s), &unix.EpollEvent{Events: unix.EPOLLIN, Fd: mark})
}

// takeRequests forwards a batch of clients' datagrams, flow by flow.
func (l *forwardLoop) takeRequests() error {
	n, err := l.fromAll.receive(l.socket, unix.MSG_DONTWAIT)
	if err != nil {
		return err
	}
	l.touched = l.touched[:0]
	for i := range n {
		at, err := l.flowOf(l.fromAll.names[i])
		if err != nil {
			return err
		}
		f := &l.flows[at]
		if len(f.waiting) == 0 {
			l.touched = append(l.touched, at)
		}
		f.waiting = append(f.waiting, i)
	}
	for _, at := range l.touched {
		f := &l.flows[at]
		for j, i := range f.waiting {
			l.up.add(l.fromAll.received(i), nil, j > 0)
		}
		f.waiting = f.waiting[:0]
		if err := l.up.send(f.server); err != nil {
			return err
		}
	}
	l.fromAll.prepareReceive(n)
	return nil
}

func (l *forwardLoop) flowOf(client unix.RawSockaddrInet4) (int, error) {
	if at, ok := l.of[client]; ok {
		return at, nil
	}
	s, err := dialDatagrams(l.to)
	if err != nil {
		return 0, err
	}
	at := len(l.flows)
	l.flows = append(l.flows, forwardedFlow{client: client, server: s})
	l.of[client] = at
	return at, l.watch(s, int32(at))
}

// takeReplies queues the server's replies to a client for the next flush.
func (l *forwardLoop) takeReplies(f *forwardedFlow) error {
	if forwardPlaces-l.used < echoPlaces {
		if err := l.flush(); err != nil {
			return err
		}
	}
	rest := l.fromOne.from(l.used)
	n, err := rest.receive(f.server, unix.MSG_DONTWAIT)
	if err != nil {
		return err
	}
	for i := range n {
		l.down.add(rest.received(i), &f.client, i > 0)
	}
	l.used += n
	return nil
}

// flush sends the queued replies.
func (l *forwardLoop) flush() error {
	err := l.down.send(l.socket)
	l.fromOne.prepareReceive(l.used)
	l.used = 0
	return err
}
