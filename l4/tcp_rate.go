package l4

// Limits of the bytes per second of a session and direction (max_rate_up, max_rate_down). A direction whose bucket is empty
// is not read until the pace wheel of the loop wakes it; meanwhile its bytes wait in the kernel's receive buffer, and the
// peer is slowed down by TCP. A session that aborts or is cut has no limit any more.

import (
	"math"
	"time"
)

const (
	// A bucket holds as many bytes as the rate allows in a tenth of a second, and at least minBurst.
	burstsPerSecond = 10
	minBurst        = 64 << 10
	// A direction that is paused waits until its bucket holds a step: a fiftieth of a second's bytes, at least minStep bytes,
	// at most a second's bytes. Smaller steps cost more wake-ups; with larger ones a late wake-up would find the bucket full.
	stepsPerSecond = 50
	minStep        = 1 << 10

	noLimit = math.MaxInt
)

// rateLimit is the token bucket of one direction. One time stands for its level: when it will be full if nothing is taken.
type rateLimit struct {
	rate   int64 // bytes per second; 0 = no limit
	full   time.Duration
	paused bool // the source may have bytes, and the bucket holds less than a step
}

func (r *rateLimit) burst() int64 { return max(r.rate/burstsPerSecond, minBurst) }

func (r *rateLimit) step() int64 { return max(r.rate/stepsPerSecond, min(minStep, r.rate)) }

// worth returns the time in which n bytes are allowed.
func (r *rateLimit) worth(n int64) time.Duration {
	return time.Duration(math.Ceil(float64(n) / float64(r.rate) * float64(time.Second)))
}

// level returns how many bytes the bucket holds, rounded down.
func (r *rateLimit) level(now time.Duration) int64 {
	return r.burst() - int64(math.Ceil(max(r.full-now, 0).Seconds()*float64(r.rate)))
}

// take removes n bytes, at most those that the bucket holds.
func (r *rateLimit) take(now time.Duration, n int64) { r.full = max(r.full, now) + r.worth(n) }

// stepAt returns when the bucket holds a step.
func (r *rateLimit) stepAt() time.Duration { return r.full - r.worth(r.burst()-r.step()) }

// transfer moves bytes as the bucket allows, and notes whether the direction is paused. A FIN needs no bytes.
func (r *rateLimit) transfer(l *loop, st *stream, src, dst *socket) transferResult {
	if r.rate == 0 {
		return st.transfer(l, src, dst, noLimit)
	}
	limit := r.level(l.now)
	if limit < r.step() {
		limit = 0
		if src.readable && src.fin && unread(src.fd) == 0 {
			limit = 1
		}
	}
	before := st.received()
	result := st.transfer(l, src, dst, int(limit))
	if now := st.received(); now > before { // less after an error, which drops what was held
		r.take(l.now, int64(now-before))
	}
	r.paused = src.readable && !st.eof && !st.stopped && !st.holding() && r.level(l.now) < r.step()
	return result
}

// pacing is the state of a session whose rate is limited.
type pacing struct {
	session  *session
	up, down rateLimit
	timer    timer[*pacing] // for the paused direction that continues first
}

// transfer is session.transfer's work on both streams.
func (p *pacing) transfer(l *loop) transferResult {
	s := p.session
	result := p.down.transfer(l, &s.down, &s.server, &s.client) | p.up.transfer(l, &s.up, &s.client, &s.server)
	at := time.Duration(math.MaxInt64)
	for _, r := range [...]*rateLimit{&p.up, &p.down} {
		if r.paused {
			at = min(at, r.stepAt())
		}
	}
	if at < math.MaxInt64 {
		l.pacer.wheel.arm(&p.timer, at)
	} else {
		l.pacer.wheel.stop(&p.timer)
	}
	return result
}

// pacer holds the sessions of a loop whose rate is limited. The session itself has only a fact: others pay nothing.
type pacer struct {
	wheel    wheel[*pacing]
	sessions map[*session]*pacing
}

// pace limits the rate of a session that begins to relay, if its settings do.
func (s *session) pace(l *loop) {
	if s.set.MaxRateUp|s.set.MaxRateDown == 0 || s.has(paced) {
		return
	}
	if l.pacer == nil {
		l.pacer = &pacer{sessions: map[*session]*pacing{}}
		l.pacer.wheel.now = uint64(l.now / wheelTick)
	}
	p := &pacing{session: s, up: rateLimit{rate: s.set.MaxRateUp}, down: rateLimit{rate: s.set.MaxRateDown}}
	p.timer.owner = p
	l.pacer.sessions[s] = p
	s.facts |= paced
}

// pacing returns the state of a session whose rate is limited, else nil.
func (s *session) pacing(l *loop) *pacing {
	if !s.has(paced) {
		return nil
	}
	return l.pacer.sessions[s]
}

// unpace ends the limits of a session.
func (s *session) unpace(l *loop) {
	if p := s.pacing(l); p != nil {
		l.pacer.wheel.stop(&p.timer)
		delete(l.pacer.sessions, s)
		s.note(paced, false)
	}
}

// stopPace stops the timer of a session that is handed over.
func (s *session) stopPace(l *loop) {
	if p := s.pacing(l); p != nil {
		l.pacer.wheel.stop(&p.timer)
	}
}

// chargeUp counts bytes of the client that were not read by the stream. They are fewer than a burst.
func (s *session) chargeUp(l *loop, n int) {
	if p := s.pacing(l); p != nil && p.up.rate > 0 {
		p.up.take(l.now, int64(n))
	}
}

// notePause counts a pause as activity of both sides: they wait for weir.
func (s *session) notePause(l *loop) {
	if p := s.pacing(l); p != nil && (p.up.paused || p.down.paused) {
		s.clientActiveAt, s.serverActiveAt = l.now, l.now
	}
}

// bucketsFull returns when the buckets of a session will be full, for a handover.
func (s *session) bucketsFull(l *loop) (up, down time.Duration) {
	if p := s.pacing(l); p != nil {
		up, down = p.up.full, p.down.full
	}
	return up, down
}

// adoptPace continues the limits of a session of another process.
func (s *session) adoptPace(l *loop, up, down time.Duration) {
	s.pace(l)
	if p := s.pacing(l); p != nil {
		p.up.adopt(l.now, up)
		p.down.adopt(l.now, down)
	}
}

// adopt sets the level, which is not below zero.
func (r *rateLimit) adopt(now, full time.Duration) {
	if r.rate > 0 {
		r.full = min(full, now+r.worth(r.burst()))
	}
}

// resumePaced wakes the sessions whose pause is over.
func (l *loop) resumePaced() {
	if w := &l.pacer.wheel; w.due(l.now) {
		w.advance(l.now, func(p *pacing) { p.session.step(l) })
	}
}
