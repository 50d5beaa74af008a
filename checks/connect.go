package checks

// Checks that only connect run on an event loop, without a goroutine of their own: the scheduler starts them, and those
// that a server does not answer at once are pending in an epoll set until they are connected, refused, cancelled or out of
// time.

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"syscall"
	"time"

	"weir/conf"
)

// connectMode is whether a job only connects, and how.
type connectMode uint8

const (
	connectNever connectMode = iota // it does more, or needs more than a plain socket
	connectFull                     // as dialFull
	connectQuiet                    // as dialQuiet
)

// OnlyConnects reports whether a check connects and does nothing else, so that Job.OnlyConnects may be set.
func OnlyConnects(spec *conf.Check) bool {
	return spec.Type == "tcp" && len(spec.Steps) == 0 && !spec.TLS.On
}

// connectModeOf returns the mode of a job, and the address to connect to.
func connectModeOf(job *Job) (connectMode, netip.AddrPort) {
	t := &job.Target
	if !job.OnlyConnects || t.SendProxy != "" || t.More != "" || t.Source.IsValid() || t.Interface != "" || t.Network != "" && t.Network != "tcp" {
		return connectNever, netip.AddrPort{}
	}
	at, err := netip.ParseAddrPort(t.Address)
	if err != nil || at.Addr().Zone() != "" {
		return connectNever, netip.AddrPort{}
	}
	if job.Spec.Quiet {
		return connectQuiet, at
	}
	return connectFull, at
}

// errPending is the error of a connection that is not established yet.
var errPending = syscall.EINPROGRESS

// startConnect opens a socket that connects to an address. The caller closes it with endConnect; it is -1 if there is none.
// With errPending the caller waits until it is writable. The last acknowledgement of the handshake is held back (see
// delayAck).
func startConnect(at netip.AddrPort) (fd int, err error) {
	family := syscall.AF_INET
	var to syscall.Sockaddr
	if ip := at.Addr().Unmap(); ip.Is4() {
		to = &syscall.SockaddrInet4{Port: int(at.Port()), Addr: ip.As4()}
	} else {
		family, to = syscall.AF_INET6, &syscall.SockaddrInet6{Port: int(at.Port()), Addr: ip.As16()}
	}
	fd, err = syscall.Socket(family, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, syscall.IPPROTO_TCP)
	if err != nil {
		return -1, fmt.Errorf("connect to %s: %w", at, os.NewSyscallError("socket", err))
	}
	_ = syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_QUICKACK, 0)
	switch err := syscall.Connect(fd, to); err {
	case nil, syscall.EINPROGRESS, syscall.EINTR:
		return fd, connectedError(fd, at) // a host on this machine has answered already
	case syscall.ECONNRESET:
		return fd, nil // see connectOnly
	default:
		return fd, fmt.Errorf("connect to %s: %w", at, err)
	}
}

// connectedError returns why a socket that has become writable is not connected, errPending if it still connects, or nil.
func connectedError(fd int, at netip.AddrPort) error {
	code, err := syscall.GetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_ERROR)
	switch {
	case err != nil:
		return fmt.Errorf("connect to %s: %w", at, os.NewSyscallError("getsockopt", err))
	case syscall.Errno(code) == syscall.ECONNRESET:
		return nil
	case code != 0:
		return fmt.Errorf("connect to %s: %w", at, syscall.Errno(code))
	}
	peer, err := syscall.Getpeername(fd)
	if err == syscall.ENOTCONN {
		return errPending
	}
	if local, e := syscall.Getsockname(fd); err == nil && e == nil && sameSockaddr(local, peer) {
		// Nothing listens at the address, and the kernel chose it as the local one of the same socket.
		return fmt.Errorf("connect to %s: %w", at, syscall.ECONNREFUSED)
	}
	return nil
}

func sameSockaddr(a, b syscall.Sockaddr) bool {
	switch a := a.(type) {
	case *syscall.SockaddrInet4:
		b, ok := b.(*syscall.SockaddrInet4)
		return ok && a.Port == b.Port && a.Addr == b.Addr
	case *syscall.SockaddrInet6:
		b, ok := b.(*syscall.SockaddrInet6)
		return ok && a.Port == b.Port && a.Addr == b.Addr
	}
	return false
}

// endConnect closes a socket with a reset. Unless quiet, it sends the acknowledgement that was held back first, so that
// the server's program sees the connection.
func endConnect(fd int, connected bool, mode connectMode) {
	if fd < 0 {
		return
	}
	if connected {
		if mode == connectFull {
			_ = syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_QUICKACK, 1)
		}
		_ = syscall.SetsockoptLinger(fd, syscall.SOL_SOCKET, syscall.SO_LINGER, &syscall.Linger{Onoff: 1})
	}
	_ = syscall.Close(fd)
}

// connectRun is a run in progress of a task that only connects.
type connectRun struct {
	task     *task
	outcome  outcome
	verdict  Verdict // at the start
	at       netip.AddrPort
	mode     connectMode
	fd       int
	serial   int32 // distinguishes its events from those of an earlier socket with the same number
	deadline time.Time
	index    int  // in connectLoop.deadlines; -1 = not there
	aborted  bool // cancelled before its connection was known
}

// connectLoop is the epoll set of pending connections. It is open while there are some and connectIdle longer. Its fields
// are guarded by Runner.mu.
type connectLoop struct {
	epfd      int    // 0 = not open
	wake      [2]int // a pipe: a byte ends the wait
	serial    int32
	pending   map[int32]*connectRun // by descriptor
	deadlines connectDeadlines
	aborted   []*connectRun // cancelled and not ended yet
}

func (l *connectLoop) open() error {
	epfd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("epoll_create", err)
	}
	if err := syscall.Pipe2(l.wake[:], syscall.O_CLOEXEC|syscall.O_NONBLOCK); err != nil {
		_ = syscall.Close(epfd)
		return os.NewSyscallError("pipe", err)
	}
	if err := syscall.EpollCtl(epfd, syscall.EPOLL_CTL_ADD, l.wake[0], &syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(l.wake[0])}); err != nil {
		for _, fd := range []int{epfd, l.wake[0], l.wake[1]} {
			_ = syscall.Close(fd)
		}
		return os.NewSyscallError("epoll_ctl", err)
	}
	l.epfd, l.pending = epfd, map[int32]*connectRun{}
	return nil
}

// add makes a connection pending. The caller holds Runner.mu.
func (l *connectLoop) add(c *connectRun) error {
	l.serial++
	c.serial = l.serial
	err := syscall.EpollCtl(l.epfd, syscall.EPOLL_CTL_ADD, c.fd, &syscall.EpollEvent{Events: syscall.EPOLLOUT, Fd: int32(c.fd), Pad: c.serial})
	if err != nil {
		return fmt.Errorf("connect to %s: %w", c.at, os.NewSyscallError("epoll_ctl", err))
	}
	l.pending[int32(c.fd)] = c
	l.deadlines.add(c)
	return nil
}

// remove ends the wait of a connection. The caller holds Runner.mu and closes its socket.
func (l *connectLoop) remove(c *connectRun) {
	if l.pending[int32(c.fd)] == c {
		delete(l.pending, int32(c.fd))
		l.deadlines.remove(c)
	}
}

// next returns the time until the first deadline, or false without pending connections. The caller holds Runner.mu.
func (l *connectLoop) next(now time.Time) (time.Duration, bool) {
	if len(l.deadlines) == 0 {
		return 0, false
	}
	return max(l.deadlines[0].deadline.Sub(now), 0), true
}

// connectDue starts the runs of tasks that are due and only connect, and ends those with a result: failures in another
// goroutine, because the delivery of many failures takes time, and other runs are due. The caller does not hold r.mu.
func (r *Runner) connectDue(due []*connectRun) {
	var passed, failed []*connectRun
	for _, c := range due {
		o := &c.outcome
		if o.watched = o.job.watches(r.serverState(&o.job), c.verdict); !o.watched {
			passed = append(passed, c)
			continue
		}
		c.fd, o.err = startConnect(c.at)
		if o.err == errPending {
			if o.err = r.addPending(c); o.err == nil {
				continue
			}
		}
		if o.err == nil {
			passed = append(passed, c)
		} else {
			failed = append(failed, c)
		}
	}
	r.endConnects(passed)
	if len(failed) > 0 {
		r.running.Go(func() { r.endConnects(failed) })
	}
}

// addPending makes a connection pending, unless its run was cancelled meanwhile.
func (r *Runner) addPending(c *connectRun) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.aborted || r.closed {
		return context.Canceled
	}
	if r.connects.epfd == 0 {
		if err := r.connects.open(); err != nil {
			return fmt.Errorf("connect to %s: %w", c.at, err)
		}
		r.running.Go(r.runConnects)
	}
	return r.connects.add(c)
}

// endConnects closes the sockets of runs, which are not pending, and applies their outcomes. The caller does not hold r.mu.
func (r *Runner) endConnects(ended []*connectRun) {
	now := time.Now()
	for _, c := range ended {
		endConnect(c.fd, c.outcome.err == nil, c.mode)
		c.outcome.ended = now
		c.outcome.report, c.outcome.err = cleanResult(c.outcome.report, c.outcome.err)
		r.mu.Lock()
		r.endRun(c.task, &c.outcome)
		r.mu.Unlock()
	}
}

// beginConnect returns the run of a task that only connects, or nil if the task needs a worker. The caller holds r.mu.
func (r *Runner) beginConnect(t *task, now time.Time) *connectRun {
	mode, at := connectModeOf(&t.job)
	if mode == connectNever || r.counters.Running >= r.opts.Parallel || len(r.ready) > 0 {
		return nil
	}
	c := &connectRun{
		task: t, at: at, mode: mode, fd: -1, index: -1, deadline: now.Add(t.job.timeout()),
		outcome: outcome{job: t.job, began: now}, verdict: t.verdict,
	}
	t.running, t.startedAt = true, now
	t.cancel = func() { // called with r.mu held
		if !c.aborted {
			c.aborted = true
			r.connects.aborted = append(r.connects.aborted, c)
			r.wakeScheduler()
		}
	}
	r.counters.Running++
	return c
}

// takeEnded removes the pending connections that were cancelled or are out of time, and returns their runs. The caller
// holds r.mu.
func (r *Runner) takeEnded(now time.Time) (ended []*connectRun) {
	l := &r.connects
	for _, c := range l.aborted {
		if l.pending[int32(c.fd)] == c { // otherwise it ends elsewhere
			l.remove(c)
			c.outcome.err = context.Canceled
			ended = append(ended, c)
		}
	}
	l.aborted = nil
	for len(l.deadlines) > 0 && !l.deadlines[0].deadline.After(now) {
		c := l.deadlines[0]
		l.remove(c)
		c.outcome.err = connectedError(c.fd, c.at) // the connection may be established, and its event not handled yet
		if c.outcome.err == errPending {
			c.outcome.err = fmt.Errorf("connect to %s: %w", c.at, timeoutError{})
		}
		ended = append(ended, c)
	}
	return ended
}

// connectIdle is how long the event loop stays without a pending connection.
const connectIdle = time.Second

// runConnects ends pending connections that have a result, until there have been none for connectIdle or the runner is
// closed.
func (r *Runner) runConnects() {
	l := &r.connects
	events := make([]syscall.EpollEvent, 256)
	r.mu.Lock()
	epfd := l.epfd
	r.mu.Unlock()
	for {
		n, err := syscall.EpollWait(epfd, events, int(connectIdle.Milliseconds()))
		r.mu.Lock()
		if r.closed {
			r.mu.Unlock()
			return
		}
		if n == 0 && err == nil && len(l.pending) == 0 {
			l.close()
			r.mu.Unlock()
			return
		}
		var ended []*connectRun
		for _, ev := range events[:max(n, 0)] {
			c := l.pending[ev.Fd]
			if c == nil || c.serial != ev.Pad {
				continue
			}
			if c.outcome.err = connectedError(c.fd, c.at); c.outcome.err == errPending {
				continue
			}
			l.remove(c)
			ended = append(ended, c)
		}
		r.mu.Unlock()
		r.endConnects(ended)
	}
}

// close closes everything. Nothing waits for events any more.
func (l *connectLoop) close() {
	if l.epfd == 0 {
		return
	}
	for _, c := range l.pending {
		_ = syscall.Close(c.fd)
	}
	clear(l.pending)
	for _, fd := range []int{l.epfd, l.wake[0], l.wake[1]} {
		_ = syscall.Close(fd)
	}
	l.epfd = 0
}
