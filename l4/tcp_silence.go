package l4

// Hosts that vanish while bytes are on their way to them. Keepalive does not run then, and the kernel retransmits for a
// quarter of an hour. Without tcp_user_timeout, which the kernel applies, the loop looks at the connections that have
// unacknowledged bytes, some time after bytes were moved, and ends the session of a host that has sent nothing at all for
// silenceTimeout. A host that does not read answers window probes, however rarely, and is not silent.

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	silenceTimeout = 60 * time.Second
	// silenceCheck is the time until the first look at a connection after bytes were moved, and between two looks at one
	// whose host does not read.
	silenceCheck = 5 * time.Second
	// silentProbes unanswered probes of a closed window count as silence; one may be lost. The kernel doubles their
	// interval up to two minutes.
	silentProbes = 2
)

// silence is what is known about one side: since when it has been silent.
type silence struct {
	since    time.Duration // 0 = it is not
	segments uint32        // received from it until then
}

// silences are those of both sides of a session.
type silences struct{ client, server silence }

// update takes another look at a connection with unacknowledged bytes. activeAt is when bytes were moved last. It reports
// whether the host has been silent for silenceTimeout.
func (x *silence) update(now, activeAt time.Duration, info *unix.TCPInfo) bool {
	switch {
	case info.Unacked == 0 && info.Probes < silentProbes: // nothing is on its way, or the last probe was answered
		*x = silence{}
	case x.since == 0 || info.Segs_in != x.segments:
		*x = silence{since: max(activeAt, now-time.Duration(info.Last_ack_recv)*time.Millisecond), segments: info.Segs_in}
	}
	return x.since > 0 && now-x.since >= silenceTimeout
}

// checkSilence looks at both sides. If a host has vanished, its socket is marked as failed. It returns the time of the
// next look; 0 = none before bytes are moved again.
func (s *session) checkSilence(l *loop) (next time.Duration) {
	if s.set.UserTimeout > 0 {
		return 0
	}
	look := func(sock *socket, x *silence, activeAt time.Duration) {
		info, ok := unix.TCPInfo{}, false
		if unacked(sock.fd) > 0 {
			ok = readTCPInfo(sock.fd, &info) == 0
		}
		if !ok {
			*x = silence{}
			return
		}
		if x.update(l.now, activeAt, &info) {
			sock.fail(syscall.ETIMEDOUT)
		}
		at := l.now + silenceCheck
		if x.since > 0 {
			at = x.since + silenceTimeout
		}
		if next == 0 || at < next {
			next = at
		}
	}
	both := l.silent[s]
	look(&s.client, &both.client, s.clientActiveAt)
	look(&s.server, &both.server, s.serverActiveAt)
	if both != (silences{}) {
		l.silent[s] = both
	} else if len(l.silent) > 0 {
		delete(l.silent, s)
	}
	return next
}

// watchSilence arms the session's timer for the first look after bytes were moved.
func (s *session) watchSilence(l *loop) {
	if s.phase == PhaseRelay {
		s.lookBy(l, l.now+silenceCheck)
	}
}

// lookBy arms the session's timer unless it fires before a time.
func (s *session) lookBy(l *loop, at time.Duration) {
	if s.set.UserTimeout == 0 {
		s.armBy(l, at)
	}
}

// forgetSilence drops what is known about a session that leaves the relay phase or the loop.
func (l *loop) forgetSilence(s *session) {
	if len(l.silent) > 0 {
		delete(l.silent, s)
	}
}

// stalled reports whether a connection that the kernel has ended after tcp_user_timeout had answered until then: the host
// did not vanish, it did not read. The first probe of a closed window may be unanswered by a host that is there: Linux
// limits such answers to two a second.
func (s *session) stalled(sock *socket) bool {
	var info unix.TCPInfo
	if s.set.UserTimeout == 0 || readTCPInfo(sock.fd, &info) != 0 {
		return false
	}
	return time.Duration(info.Last_ack_recv)*time.Millisecond < s.set.UserTimeout ||
		info.Snd_wnd == 0 && info.Retransmits == 0 && info.Probes < silentProbes
}
