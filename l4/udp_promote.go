package l4

// Flows that the kernel forwards. A promoted flow keeps its sockets, its server and its place in the table; the kernel translates
// its datagrams before they reach the sockets (package promotion). Datagrams that do reach them are forwarded here as always, so a
// promotion can begin and end at any moment. The loop reads what has passed (udp_promoted.go), and ends the promotion of a
// flow that must see its client's next datagram.

import (
	"net"
	"net/netip"
	"time"

	"weir/internal/promotion"
)

// PromoteAfter is when the kernel takes over: after a number of datagrams of the client or of bytes in both directions, and not
// before an age.
type PromoteAfter struct {
	Requests uint32
	Bytes    uint64
	Age      time.Duration
}

// promotionState is how far the promotion of a flow has come.
type promotionState uint8

const (
	promotionOpen    promotionState = iota // not considered yet
	promotionNever                         // not with this server
	promotionRefused                       // not with this server, until routes or interfaces change
	promotionWatched                       // the kernel has not seen both directions
	promoted                               // the kernel forwards
)

// promotePause is how long a loop promotes nothing after the kernel had no room.
const promotePause = time.Second

// consider promotes the flow if it has proved to be busy. It is called after a batch of replies.
func (f *flow) consider(l *loop) {
	after := f.set.Promote
	if after == nil {
		return
	}
	switch f.promotion {
	case promotionOpen:
		if (f.requests >= after.Requests || f.bytesUp+f.bytesDown >= after.Bytes) && l.now-f.startedAt >= after.Age {
			f.tryPromote(l)
		}
	case promotionWatched:
		f.giveUpUnseen(l)
	}
}

// unseenTimeout is how long the kernel may take until it has seen a datagram in each direction.
const unseenTimeout = 2 * time.Second

// giveUpUnseen demotes a flow whose datagrams the kernel does not see, though user space has had some in each direction: they are
// translated on this host, or use an interface without the program.
func (f *flow) giveUpUnseen(l *loop) {
	p := l.promoted.of[f]
	if l.now-p.since >= unseenTimeout && f.requests != p.requests && p.kernel.Traffic(p.number).State == promotion.Watching {
		f.demote(l, DemotedMoved)
		f.refusePromotion(l, UnpromotedUnseen)
	}
}

func (f *flow) tryPromote(l *loop) {
	kernel := l.plane.kernel.Load()
	switch {
	case kernel == nil, l.now < l.promoted.again, f.socket.ln.set.Load().Promote == nil:
		return
	case f.stage != stageConfirmed, f.lingering, f.frozen, f.mustChangeServer(l):
		return
	case f.header != nil, f.set.Responses > 0, f.set.Requests > 0, f.target.sendsProxy():
		f.refusePromotion(l, UnpromotedDatagrams)
		return
	}
	client := promotion.Leg{Remote: unmapped(f.key.client()), Local: unmapped(f.localAddress()), Interface: interfaceIndex(f.socket.ln.set.Load().Interface)}
	server := promotion.Leg{Remote: unmapped(f.serverAddress()), Local: unmapped(socketName(f.fd)), Interface: interfaceIndex(f.target.device)}
	for _, at := range []netip.AddrPort{client.Remote, client.Local, server.Remote, server.Local} {
		if promotion.HasScope(at.Addr()) {
			f.refusePromotion(l, UnpromotedScope)
			return
		}
	}
	n, err := kernel.AddFlow(client, server)
	if err != nil {
		f.refusePromotion(l, whyUnpromoted(err))
		switch whyUnpromoted(err) {
		case UnpromotedFull:
			f.promotion, l.promoted.again = promotionOpen, l.now+promotePause
		case UnpromotedFailed:
			l.plane.warnLimited("cannot promote a flow", "listener", f.set.Name, "error", err)
		}
		return
	}
	f.promotion = promotionWatched
	l.promoted.add(&promotedFlow{flow: f, kernel: kernel, number: n, since: l.now, requests: f.requests})
}

func unmapped(at netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
}

// interfaceIndex returns the index of an interface; 0 = any, or this host lacks it.
func interfaceIndex(name string) int {
	if name == "" {
		return 0
	}
	i, err := net.InterfaceByName(name)
	if err != nil {
		return 0
	}
	return i.Index
}

func (f *flow) refusePromotion(l *loop, why Unpromoted) {
	if f.promotion = promotionRefused; why == UnpromotedDatagrams || why == UnpromotedFamilies || why == UnpromotedScope {
		f.promotion = promotionNever
	}
	n := &l.promoted.counters.refused[why]
	store(n, *n+1)
}

// demote ends the promotion. It does nothing for a flow that is not promoted.
func (f *flow) demote(l *loop, why Demoted) {
	if f.promotion < promotionWatched {
		return
	}
	p := l.promoted.of[f]
	p.count(l, p.kernel.Remove(p.number))
	l.promoted.remove(p)
	f.promotion = promotionOpen
	if p.counts {
		l.promoted.countDemoted(why)
	}
}

// countPromoted reads what the kernel has forwarded of a promoted flow.
func (f *flow) countPromoted(l *loop) {
	if f.promotion >= promotionWatched {
		p := l.promoted.of[f]
		p.count(l, p.kernel.Traffic(p.number))
	}
}

// mustChangeServer reports whether the client's next datagram does not simply go to the flow's server.
func (f *flow) mustChangeServer(l *loop) bool {
	return f.fd < 0 || f.lease.Server().OutOfService() || f.pendingReason != ReasonNone || f.serverMoved(l) || f.mustRebalance(l)
}
