package balance

import "time"

// PassiveState is the passive health of a server: the result of its sessions' dials and of feedback.
type PassiveState uint8

// The passive states.
const (
	PassiveUp        PassiveState = iota
	PassiveFailing                // not eligible until fail_timeout is over
	PassiveProbation              // one session at a time decides
)

// String returns the name used in the API.
func (p PassiveState) String() string {
	return [...]string{PassiveUp: "up", PassiveFailing: "failing", PassiveProbation: "probation"}[p]
}

// passiveHealth is the state machine of passive health (max_fails, fail_timeout) for one server:
//
//	state      failure                                        success   fail_timeout over
//	up         counted; failing after max_fails within        –         –
//	           fail_timeout of the first one
//	failing    –                                              –         probation
//	probation  failing                                        up        –
//
// A success in state up does not reset the count: a server that fails every third dial is failing, too. clear ends
// failing and probation when all checks have passed since the trip.
type passiveHealth struct {
	maxFails int           // 0 = off
	timeout  time.Duration // fail_timeout

	state PassiveState
	fails int           // since first, while up
	first time.Duration // time of the first counted failure
	until time.Duration // end of the failing state

	trippedAt time.Duration // when it last became failing
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

// trip makes the server failing for a full fail_timeout from now.
func (p *passiveHealth) trip(now time.Duration) {
	p.state, p.fails, p.until, p.trippedAt = PassiveFailing, 0, now+p.timeout, now
}

func (p *passiveHealth) success() {
	if p.state == PassiveProbation {
		p.clear()
	}
}

// clear resets everything but the settings.
func (p *passiveHealth) clear() { *p = passiveHealth{maxFails: p.maxFails, timeout: p.timeout} }

// expire changes failing to probation once fail_timeout is over.
func (p *passiveHealth) expire(now time.Duration) {
	if p.state == PassiveFailing && now >= p.until {
		p.state = PassiveProbation
	}
}

// set applies new settings. Disabling passive health also ends the failing state.
func (p *passiveHealth) set(maxFails int, timeout time.Duration) {
	p.maxFails, p.timeout = maxFails, timeout
	if maxFails <= 0 {
		p.clear()
	}
}
