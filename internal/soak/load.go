package soak

// The clients of a run, and the faults beside them.

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"
)

// clients runs the clients for length, with faults if wild is set. It returns when the last session has ended.
func (s *soak) clients(r *rand.Rand, length time.Duration, wild bool) {
	ctx, cancel := context.WithTimeout(context.Background(), length)
	defer cancel()
	var work sync.WaitGroup
	own := func() *rand.Rand { return rand.New(rand.NewPCG(r.Uint64(), r.Uint64())) }
	for i := range s.Clients {
		mine, ports := own(), newPorts(i, s.Clients)
		work.Go(func() {
			for ctx.Err() == nil {
				p := s.session(ctx, mine, ports)
				s.verifier.addClientResult(p)
				switch {
				case p.server < 0: // no server: limit the rate
					sleep(ctx, mine, 10*time.Millisecond, 100*time.Millisecond)
				case s.Pause > 0:
					sleep(ctx, mine, 0, 2*s.Pause)
				}
			}
		})
	}
	for i := range max(1, s.Clients/8) {
		mine, ports := own(), newPorts(i, s.Clients)
		work.Go(func() {
			for ctx.Err() == nil {
				id := s.lastID.Add(1)
				to := s.flowListener(mine)
				t, wrong := flow(ctx, mine, id, ports.next(), to.address, func(since time.Time, faults ...fault) bool {
					return s.faults.faultLog.any(s.faults.faultLog.before(since, tolerance), time.Now(), append([]string{to.name}, s.verifier.echoes...), faults...) ||
						s.faults.faultLog.stalledFor(replyTimeout/2, since, time.Now())
				})
				s.verifier.addFlow(id, t, wrong)
			}
		})
	}
	work.Go(func() { s.faults.faultLog.watchStalls(ctx) })
	if wild {
		for _, do := range []func(context.Context, *rand.Rand){s.faults.killServers, s.faults.reloadRandomly, s.faults.overrideRandomly, s.faults.readStatus, s.faults.upgradeRandomly, s.faults.suspendRandomly, s.faults.refuseRandomly, s.faults.changeProviders} {
			mine := own()
			work.Go(func() { do(ctx, mine) })
		}
	}
	ended := make(chan struct{})
	go func() {
		work.Wait()
		close(ended)
	}()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	gone := s.weir.ended
	for n := 1; ; n++ {
		select {
		case <-ended:
			s.live.Show("")
			return
		case <-gone: // the run is over
			s.verifier.report("weir has ended")
			cancel()
			gone = nil
		case now := <-tick.C:
			s.verifier.verifyEnded(now)
			if wild && n%10 == 0 {
				s.progress()
			}
			if wild {
				s.live.Show(s.left(now))
			}
		}
	}
}

// ports are the local ports that one client uses in turn. They are chosen here and not by the kernel, so that a session
// is identified by its address even if it is reset before connect has returned.
type ports struct {
	ip          netip.Addr
	first, last uint16
	nextPort    uint16
}

const firstPort, lastPort = 10_000, 65_000

func newPorts(client, clients int) *ports {
	room := (lastPort - firstPort) / clients
	ip := netip.MustParseAddrPort(address(1+client%4, 1)).Addr()
	first := uint16(firstPort + client*room)
	return &ports{ip: ip, first: first, last: first + uint16(room) - 1, nextPort: first}
}

func (p *ports) next() netip.AddrPort {
	port := p.nextPort
	if p.nextPort++; p.nextPort > p.last {
		p.nextPort = p.first
	}
	return netip.AddrPortFrom(p.ip, port)
}

// flowListener returns a random UDP listener, sometimes an absent one.
func (s *soak) flowListener(r *rand.Rand) flowListener {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	all := s.faults.current.flows
	if l := all[r.IntN(len(all))]; l.present || r.IntN(20) == 0 {
		return l
	}
	return all[0]
}

// session runs one random session.
func (s *soak) session(ctx context.Context, r *rand.Rand, from *ports) clientResult {
	sc := newScript(r, s.lastID.Add(1))
	lottery := r.IntN(listenerCount)
	anyway := r.IntN(20) == 0 // sometimes use an absent listener
	base := r.IntN(permanentListeners)
	for {
		s.faults.mu.Lock()
		l := s.faults.current.listeners[lottery]
		if !l.present && !anyway {
			l = s.faults.current.listeners[base]
		}
		s.faults.mu.Unlock()
		sc.greeting = s.faults.first.clusters[l.cluster].greeting
		if l.onUnix() {
			sc.serverReset, sc.clientReset = never, never
		}
		if sc.proxy = 0; l.acceptProxy {
			sc.proxy = 1 + uint8(sc.id%2)
		}
		if sc.hello = (clientHello{}); l.name == s.faults.first.listeners[nameListener].name {
			sc.hello = randomHello(r)
		}
		if p, err := sc.run(ctx, from.next(), l.name, l.address); err == nil {
			return p
		}
	}
}
