package engine

// Sessions that the kernel forwards: the program is loaded once, before capabilities are dropped, attached at every reload, and
// handed over by an upgrade. What is missing is logged once, and the sessions stay in user space.

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"weir/conf"
	"weir/internal/handover"
	"weir/internal/netwatch"
	"weir/internal/promotion"
	"weir/internal/status"
	"weir/l4"
)

// kernelPromotion is the kernel's part of promotion.
type kernelPromotion struct {
	changed chan struct{} // routes or interfaces of this host have changed; holds one

	mu         sync.Mutex
	kernel     *promotion.Kernel // nil = not loaded
	inherited  bool              // from the old process, which has used it until the commit
	interfaces []string          // of the configuration
	loadError  error             // why there is no kernel
	problem    string            // why sessions are not promoted, or not at all interfaces; "" = no problem
	handedOver bool              // the new process attaches the program now
	stopWatch  func()            // nil = changes of routes are not watched
}

func promotes(cfg *conf.Config) bool { return len(cfg.Runtime.PromoteInterfaces) > 0 }

// loadPromotion loads the program, or takes it over from the old process, while this process may still do so.
func (e *Engine) loadPromotion(cfg *conf.Config, sessions int) {
	if !promotes(cfg) {
		return
	}
	p := &e.promotion
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.kernel != nil {
		return
	}
	var inheritError error
	if old := e.oldProcess; old != nil {
		if all := old.Descriptors(handover.PromotionDescriptor); len(all) > 0 {
			if p.kernel, inheritError = promotion.Inherit(all); inheritError == nil {
				p.inherited = true
				return
			}
		}
	}
	if p.kernel, p.loadError = promotion.Open(max(1, sessions)); p.loadError != nil {
		p.kernel = nil
		p.loadError = errors.Join(inheritError, p.loadError)
	}
}

// commitPromotion attaches the program where the configuration says, and lets the loops use it.
func (r *reload) commitPromotion() {
	e, p, cfg := r.e, &r.e.promotion, r.next.cfg
	if r.old.cfg != nil {
		e.loadPromotion(cfg, r.budget.effective(cfg))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.interfaces = cfg.Runtime.PromoteInterfaces
	if p.kernel == nil {
		if promotes(cfg) {
			if r.old.cfg != nil {
				p.loadError = fmt.Errorf("restart weir: the program is loaded at the start only: %w", p.loadError)
			}
			p.report(e, p.loadError.Error())
		} else {
			p.report(e, "")
		}
		return
	}
	if p.inherited {
		p.inherited = false
		p.kernel.Reset()
	}
	before := p.kernel.Attached()
	err := p.kernel.Attach(p.interfaces)
	p.reportAttach(e, err)
	if !promotes(cfg) {
		e.plane.SetKernel(nil)
		return
	}
	if p.stopWatch == nil {
		stop, err := netwatch.Routes(func() { notify(p.changed) })
		if err != nil {
			_ = p.kernel.Attach(nil)
			p.report(e, err.Error())
			return
		}
		p.stopWatch = stop
	}
	e.plane.SetKernel(p.kernel)
	if now := p.kernel.Attached(); !slices.Equal(before, now) {
		e.log.Info("promotion: program attached", "interfaces", strings.Join(now, ","))
	}
}

// reportAttach reports the error of an Attach. mu is held.
func (p *kernelPromotion) reportAttach(e *Engine, err error) {
	if err == nil {
		p.report(e, "")
		return
	}
	p.report(e, strings.ReplaceAll(err.Error(), "\n", "; "))
}

// report logs a problem once. mu is held.
func (p *kernelPromotion) report(e *Engine, problem string) {
	problem = strings.ReplaceAll(problem, "\n", "; ")
	if problem != "" && problem != p.problem {
		e.log.Warn("sessions are not promoted: the kernel does not forward them", "error", problem)
	}
	p.problem = problem
}

// networkPause is the shortest time between two looks at interfaces after changes of this host's network.
const networkPause = 200 * time.Millisecond

// followNetwork leaves the promoted sessions to user space after a change of routes or interfaces, until the loops have looked at
// their routes, and attaches the program to interfaces that have come back.
func (e *Engine) followNetwork() {
	p := &e.promotion
	timer := time.NewTimer(networkPause)
	defer timer.Stop()
	for {
		select {
		case <-e.ctx.Done():
			return
		case <-p.changed:
		}
		p.networkChanged(e)
		timer.Reset(networkPause)
		select {
		case <-e.ctx.Done():
			return
		case <-timer.C:
		}
	}
}

func (p *kernelPromotion) networkChanged(e *Engine) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.kernel == nil || p.handedOver {
		return
	}
	p.kernel.Suspend()
	p.reportAttach(e, p.kernel.Attach(p.interfaces))
	e.plane.RetryPromotions()
}

// handOverPromotion ends the promotions of this process before an upgrade, or lets them continue after one that has failed.
func (e *Engine) handOverPromotion(over bool) {
	p := &e.promotion
	p.mu.Lock()
	defer p.mu.Unlock()
	p.handedOver = over
	switch {
	case p.kernel == nil:
	case over:
		e.plane.SetKernel(nil)
	case len(p.interfaces) > 0:
		p.kernel.Reset() // the new process may have used it
		e.plane.SetKernel(p.kernel)
	}
}

// promotionSockets returns what the new process of an upgrade needs. mu of the engine is held.
func (e *Engine) promotionSockets() (list []handover.Socket) {
	p := &e.promotion
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.kernel == nil || len(p.interfaces) == 0 {
		return nil
	}
	for name, fd := range p.kernel.Descriptors() {
		list = append(list, handover.Socket{Kind: handover.PromotionDescriptor, Name: name, Descriptors: []int32{fd}})
	}
	return list
}

// close detaches the program, unless the new process of an upgrade has it. The loops have ended.
func (p *kernelPromotion) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopWatch != nil {
		p.stopWatch()
	}
	if p.kernel != nil {
		p.kernel.Close()
	}
}

// promotionStatus returns the entry of the status document; nil without runtime.promote_interfaces.
func (e *Engine) promotionStatus() *status.Promotion {
	p := &e.promotion
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.interfaces) == 0 {
		return nil
	}
	s := &status.Promotion{Interfaces: []string{}, Problem: p.problem}
	if p.kernel != nil {
		s.Interfaces = append(s.Interfaces, p.kernel.Attached()...)
	}
	sum := e.promotionCounts()
	s.Sessions, s.Promoted = e.plane.Promotions().Now, sum.Promoted
	for _, why := range l4.UnpromotedReasons() {
		s.Refused = append(s.Refused, status.ReasonCount{Reason: why.String(), Count: sum.Refused[why.String()]})
	}
	for _, why := range l4.DemotedReasons() {
		s.Demoted = append(s.Demoted, status.ReasonCount{Reason: why.String(), Count: sum.Demoted[why.String()]})
	}
	return s
}

// promotionCounts are the counters of promotions that an upgrade transfers.
type promotionCounts struct {
	Promoted uint64            `json:"promoted"`
	Refused  map[string]uint64 `json:"refused,omitempty"`
	Demoted  map[string]uint64 `json:"demoted,omitempty"`
}

// promotionCounts returns the counters of this process and of those before it.
func (e *Engine) promotionCounts() promotionCounts {
	now := e.plane.Promotions()
	c := promotionCounts{Promoted: now.Begun, Refused: map[string]uint64{}, Demoted: map[string]uint64{}}
	for _, why := range l4.UnpromotedReasons() {
		c.Refused[why.String()] = now.Refused[why]
	}
	for _, why := range l4.DemotedReasons() {
		c.Demoted[why.String()] = now.Demoted[why]
	}
	if old := e.published.baseline.Load(); old != nil {
		c.Promoted += old.Promotions.Promoted
		for why := range c.Refused {
			c.Refused[why] += old.Promotions.Refused[why]
		}
		for why := range c.Demoted {
			c.Demoted[why] += old.Promotions.Demoted[why]
		}
	}
	return c
}

// PromotionWarnings returns why this host cannot promote sessions. A start goes on without.
func PromotionWarnings(cfg *conf.Config) (list conf.Errors) {
	if !promotes(cfg) {
		return nil
	}
	if err := promotion.HostLacks(); err != nil {
		return append(list, cfg.KeyError("runtime", "promote_interfaces", err))
	}
	for _, name := range cfg.Runtime.PromoteInterfaces {
		if err := checkInterface(name); err != nil {
			list = append(list, cfg.KeyError("runtime", "promote_interfaces", err))
		}
	}
	return list
}
