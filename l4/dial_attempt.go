package l4

// What TCP sessions and UDP flows have in common when they dial: the addresses to try, the release of a failed lease, and
// which errors are the server's fault.

import (
	"syscall"

	"weir/balance"
)

// connect calls try with the index of each of the target's addresses, from first on, until one works or this host is
// short of a resource. It returns 0, or the error of the last address; last is that of the previous ones. An address
// without a usable source address is skipped: that says nothing about the server. If a source address has no free port,
// try is called again and uses the next one.
func (t *Target) connect(first int, last errno, try func(address int) errno) errno {
	for address := first; address < t.addresses(); address++ {
		if t.skips(address) {
			continue
		}
		e := try(address)
		for n := t.source.maxTries(t.addrs[address].family()); n > 1 && (e == syscall.EADDRNOTAVAIL || e == eagain); n-- {
			e = try(address)
		}
		switch {
		case e == 0 || isShortage(e):
			return e
		case e != syscall.EAFNOSUPPORT || last == syscall.EDESTADDRREQ:
			last = e
		}
	}
	return last
}

// countAttempt counts an attempt, the n-th of its session. c may be nil.
func (c *serverCounts) countAttempt(n uint16) {
	if c == nil {
		return
	}
	store(&c.dials, c.dials+1)
	if n > 1 {
		store(&c.retries, c.retries+1)
	}
}

// releaseFailed releases the lease of a failed attempt and returns the reason. The failure counts against the server
// unless its cause is local.
func (l *loop) releaseFailed(lease *balance.Lease, set *Settings, counts *serverCounts, e errno) Reason {
	if isShortage(e) || isLocal(e) {
		if e != syscall.EAFNOSUPPORT { // warnUnusable reports it
			l.plane.warnLimited("cannot dial: no local address, port, descriptor or memory", "cluster", set.ClusterName,
				"server", lease.Server().Name(), "error", e)
		}
		lease.Done(l.now)
		return ReasonLocalShortage
	}
	lease.Fail(l.now, e.Error())
	if counts != nil {
		store(&counts.fails, counts.fails+1)
	}
	switch e {
	case syscall.ETIMEDOUT:
		return ReasonConnectTimeout
	case syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.ENOENT:
		return ReasonRefused
	}
	return ReasonUnreachable
}

// isShortage reports whether this host has run out of a resource. Another server would meet the same shortage.
func isShortage(e errno) bool {
	switch e {
	case syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ENOSPC:
		return true
	}
	return false
}

// isLocal reports whether an error is about this host's addresses or ports towards one server. It is not a failure of
// the server, and another server may work.
func isLocal(e errno) bool {
	switch e {
	case syscall.EADDRNOTAVAIL, syscall.EADDRINUSE, syscall.EACCES, syscall.EPERM, syscall.EAFNOSUPPORT,
		syscall.EINVAL, syscall.EAGAIN, syscall.EDESTADDRREQ:
		return true
	}
	return false
}
