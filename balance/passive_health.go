package balance

import "time"

// PassiveState is what the sessions' own experience says about a server.
type PassiveState uint8

// The passive states.
const (
	PassiveUp        PassiveState = iota
	PassiveFailing                // tripped: not eligible until fail_timeout is over
	PassiveProbation              // one session at a time decides
)

// String returns the word used in the API.
func (p PassiveState) String() string {
	switch p {
	case PassiveFailing:
		return "failing"
	case PassiveProbation:
		return "probation"
	}
	return "up"
}

// passiveHealth is a server's passive record. Its methods are the whole of passive health:
//
//	state      failure                                        success   fail_timeout over
//	up         counts; the max_fails-th within fail_timeout   –         –
//	           of the first one trips it
//	failing    –                                              –         probation
//	probation  trips it again                                 up        –
//
// A success in state up leaves the count alone: a server that fails every third dial is failing, too.
type passiveHealth struct {
	maxFails int           // 0 = off
	timeout  time.Duration // fail_timeout

	state PassiveState
	fails int           // since first, while up
	first time.Duration // of the failures counted
	until time.Duration // when a trip ends
}

func (p *passiveHealth) fail(now time.Duration) {
	if p.maxFails <= 0 {
		return
	}
	switch p.state {
	case PassiveUp:
		if p.fails == 0 || now-p.first > p.timeout {
			p.fails, p.first = 0, now
		}
		if p.fails++; p.fails >= p.maxFails {
			p.trip(now)
		}
	case PassiveProbation:
		p.trip(now)
	}
}

// trip takes the server out for a full fail_timeout from now.
func (p *passiveHealth) trip(now time.Duration) {
	p.state, p.fails, p.until = PassiveFailing, 0, now+p.timeout
}

func (p *passiveHealth) success() {
	if p.state == PassiveProbation {
		p.clear()
	}
}

// clear forgets everything but the settings.
func (p *passiveHealth) clear() { *p = passiveHealth{maxFails: p.maxFails, timeout: p.timeout} }

// applyTimers moves a trip that is over on to probation.
func (p *passiveHealth) expire(now time.Duration) {
	if p.state == PassiveFailing && now >= p.until {
		p.state = PassiveProbation
	}
}

// set applies new settings. Switching passive health off also ends a trip.
func (p *passiveHealth) set(maxFails int, timeout time.Duration) {
	p.maxFails, p.timeout = maxFails, timeout
	if maxFails <= 0 {
		p.clear()
	}
}
