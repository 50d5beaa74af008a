package engine

// The addresses of the configuration: when this host has them. See package vip.

import (
	"context"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"weir/conf"
	"weir/internal/netwatch"
	"weir/internal/status"
	"weir/internal/vip"
)

// vips adds and removes the addresses. All of it but the signals belongs to the goroutine of maintainVIPs.
type vips struct {
	// Safe for concurrent use.
	changed chan struct{}                // a condition may have changed; holds one
	settle  chan chan struct{}           // of settleVIPs
	dirty   atomic.Bool                  // the addresses of this host have changed
	stalled atomic.Bool                  // an event loop does not respond
	states  atomic.Pointer[[]status.VIP] // immutable

	host    *vip.Host
	stop    func() // ends the watch of this host's addresses; nil = none
	gates   map[netip.Addr]vip.Gate
	last    map[netip.Addr]status.VIP
	wanted  []vip.Address // of the last application
	results []vip.Result
	applied time.Time
	failed  string // the last error of an application
}

func newVIPs() vips {
	return vips{changed: make(chan struct{}, 1), settle: make(chan chan struct{}), host: vip.NewHost(), gates: map[netip.Addr]vip.Gate{}, last: map[netip.Addr]status.VIP{}}
}

const (
	vipInterval   = 250 * time.Millisecond // between two looks at the conditions that no event has announced
	vipRetry      = 250 * time.Millisecond // between two attempts to have the addresses as they must be
	vipRefresh    = 5 * time.Second        // between two looks at the addresses of this host that no change has announced
	settleTimeout = time.Second
)

// maintainVIPs makes this host have the addresses while their conditions are true.
func (e *Engine) maintainVIPs() {
	v := &e.vips
	timer := time.NewTimer(vipInterval)
	defer timer.Stop()
	defer v.close(e)
	for {
		var settled chan struct{}
		select {
		case <-e.ctx.Done():
			return
		case settled = <-v.settle:
			v.dirty.Store(true)
		case <-v.changed:
		case <-timer.C:
		}
		wait := e.stepVIPs()
		if settled != nil {
			close(settled)
		}
		if timer.Stop(); wait > 0 {
			timer.Reset(wait)
		}
	}
}

// close removes the addresses, unless the new process of an upgrade has them.
func (v *vips) close(e *Engine) {
	if v.stop != nil {
		v.stop()
	}
	if e.published.handedOver.Load() {
		v.host.Release()
	} else {
		v.host.Close()
	}
}

// settleVIPs makes what has changed take effect on the addresses and waits for it, at most for settleTimeout.
func (e *Engine) settleVIPs() {
	ctx, cancel := context.WithTimeout(e.ctx, settleTimeout)
	defer cancel()
	done := make(chan struct{})
	select {
	case e.vips.settle <- done:
	case <-ctx.Done():
		return
	}
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// stepVIPs brings the addresses up to date and returns when it must be called next; 0 = after the next change.
func (e *Engine) stepVIPs() time.Duration {
	v, running := &e.vips, e.running.Load()
	if e.published.handedOver.Load() {
		v.host.Release() // the new process has them
		return 0
	}
	v.watch(e, len(running.cfg.VIPs) > 0)
	wanted, blocked, next := e.wantedVIPs(running)
	retry := slices.ContainsFunc(v.results, func(r vip.Result) bool { return !r.Locked || r.Problem != nil })
	if due := time.Since(v.applied); v.dirty.Swap(false) || !slices.Equal(wanted, v.wanted) || due >= vipRefresh || retry && due >= vipRetry {
		results, err := v.host.Apply(wanted)
		e.logVIPError(err)
		if err == nil {
			v.wanted, v.results = wanted, results
		}
		v.applied = time.Now()
	}
	if len(v.results) == len(running.cfg.VIPs) { // else they could not be listed yet
		e.publishVIPs(running.cfg.VIPs, wanted, blocked)
	}
	if len(wanted) == 0 {
		return 0
	}
	return next
}

// watch watches the addresses of this host while the configuration has some.
func (v *vips) watch(e *Engine, on bool) {
	switch {
	case on && v.stop == nil:
		stop, err := netwatch.Addresses(func() { v.dirty.Store(true); notify(v.changed) })
		if err != nil {
			e.log.Warn("vip: changes by other programs are noticed late", "error", err)
			stop = func() {}
		}
		v.stop = stop
	case !on && v.stop != nil:
		v.stop()
		v.stop = nil
	}
}

// wantedVIPs returns the addresses of the configuration, why each is not wanted, and how long until that may change by itself.
func (e *Engine) wantedVIPs(running *runningState) (wanted []vip.Address, blocked []string, next time.Duration) {
	v, now, list := &e.vips, e.plane.Now(), running.cfg.VIPs
	for i := range list {
		wanted = append(wanted, vip.Address{Prefix: list[i].Address, Interface: list[i].Interface})
	}
	gates, node := map[netip.Addr]vip.Gate{}, e.nodeBlocked(e.vips.stalled.Load())
	var marked map[netip.Addr]bool // that this host has already
	next = vipInterval
	for i := range list {
		ip := list[i].Address.Addr()
		gate, known := v.gates[ip]
		if !known {
			if marked == nil {
				var err error
				marked, err = vip.Marked(wanted)
				e.logVIPError(err)
			}
			gate = vip.NewGate(marked[ip])
		}
		why := node
		for _, name := range list[i].Clusters {
			if why == "" {
				why = running.clusterBlocked(name, now)
			}
		}
		open, wait := gate.Step(now, why != "", list[i].Hold)
		if gates[ip], wanted[i].Up = gate, open; wait > 0 {
			next = min(next, wait)
		}
		blocked = append(blocked, why)
	}
	v.gates = gates
	return wanted, blocked, next
}

func (e *Engine) logVIPError(err error) {
	if err == nil {
		e.vips.failed = ""
	} else if e.vips.failed != err.Error() {
		e.vips.failed = err.Error()
		e.log.Error("vip: cannot read the addresses of this host", "error", err)
	}
}

// publishVIPs publishes the states of the addresses and reports what has changed.
func (e *Engine) publishVIPs(list []conf.VIP, wanted []vip.Address, blocked []string) {
	v, now := &e.vips, time.Now()
	states, last := make([]status.VIP, 0, len(list)), map[netip.Addr]status.VIP{}
	for i := range list {
		ip, r := list[i].Address.Addr(), &v.results[i]
		before, known := v.last[ip]
		delete(v.last, ip)
		s := status.VIP{
			Address: list[i].Address.String(), Interface: list[i].Interface, Clusters: append([]string{}, list[i].Clusters...), Reason: blocked[i], Since: now,
		}
		switch {
		case wanted[i].Up && r.Up:
			s.State = status.VIPUp
		case wanted[i].Up:
			s.State = status.VIPFailed
		case blocked[i] != "":
			s.State = status.VIPDown
		default:
			s.State = status.VIPHold
		}
		if r.Problem != nil {
			s.Problem = r.Problem.Error()
		}
		if known && before.State == s.State {
			s.Since = before.Since
		}
		e.reportVIP(&s, &before, r)
		r.Added, r.Removed = false, false
		states = append(states, s)
		last[ip] = s
	}
	for _, gone := range v.last {
		if gone.State == status.VIPUp {
			e.putVIPEvent("vip_removed", &gone, "no longer configured")
		}
	}
	v.last = last
	v.states.Store(&states)
}

// reportVIP logs and reports what has become of an address. before is its last state; it is empty if there was none.
func (e *Engine) reportVIP(s, before *status.VIP, r *vip.Result) {
	was, is := before.State == status.VIPUp, s.State == status.VIPUp
	switch {
	case is && r.Added && was && s.Address == before.Address && s.Interface == before.Interface:
		e.putVIPEvent("vip_added", s, "another program had removed it")
	case is && r.Added && was:
		e.putVIPEvent("vip_added", s, "moved from "+before.Address+" on "+before.Interface)
	case is && r.Added:
		e.putVIPEvent("vip_added", s, "")
	case is && !was && e.oldProcess == nil:
		e.putVIPEvent("vip_added", s, "taken over from a weir that was killed")
	case !is && (was || r.Removed):
		reason := s.Reason
		if reason == "" {
			reason = s.Problem
		}
		e.putVIPEvent("vip_removed", s, reason)
	}
	if s.Problem != "" && s.Problem != before.Problem {
		e.log.Error("vip", "address", s.Address, "interface", s.Interface, "state", s.State, "error", s.Problem)
	}
}

func (e *Engine) putVIPEvent(kind string, s *status.VIP, reason string) {
	e.published.eventLog.put(status.Event{Time: time.Now(), Event: kind, Address: s.Address, To: s.Interface, Reason: reason})
	e.log.Info(kind, "event", kind, "address", s.Address, "interface", s.Interface, "reason", reason)
}

// vipStates returns the entries of the addresses in the status document.
func (e *Engine) vipStates() []status.VIP {
	if states := e.vips.states.Load(); states != nil {
		return slices.Clone(*states)
	}
	return nil
}

// Event loops count as stalled after stallTries probes in a row that none of them has answered in time. One can fail because
// this process did not run.
const (
	stallInterval = 500 * time.Millisecond
	stallTries    = 2
)

// watchLoops probes the event loops while the configuration has addresses.
func (e *Engine) watchLoops() {
	tick := time.NewTicker(stallInterval)
	defer tick.Stop()
	for failed := 0; ; {
		select {
		case <-e.ctx.Done():
			return
		case <-tick.C:
		}
		if failed++; len(e.running.Load().cfg.VIPs) == 0 || e.LoopsRespond(stallTimeout) {
			failed = 0
		}
		if stalled := failed >= stallTries; e.vips.stalled.Swap(stalled) != stalled {
			notify(e.vips.changed)
		}
	}
}
