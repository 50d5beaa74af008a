package balance

import (
	"math"
	"time"
)

// leastTime picks the server with the smallest time × (sessions+1) / weight, where time is the smoothed time to connect and
// to answer. Ties go by smooth weighted round robin.
//
// Time is what a session has to wait, the server's own queue included. The number of sessions reacts before an answer has
// been measured. Times above slowFrom times the fastest one count more: with the plain product, as in "peak EWMA", a server
// that is three times slower keeps more than one session in a hundred, and the 99th percentile is 2.2 times that of a
// perfect choice; so it is 1.0 to 1.04 (simulated: 10 servers, 2 to 32 requests at a time, loads of 0.4 to 0.8).
//
// A server without a measurement counts as fast as the fastest one, so that it is tried without receiving every
// session. A measurement is halved with every halfLife since the last measurement or attempt: a server that was slow once
// is tried again, by one session at a time.
//
// A pick compares at most maxCompared servers, so that its time does not grow with their number. They are spread over the
// level, and each pick begins one server further on.
type leastTime struct{}

const (
	halfLife       = 700 * time.Millisecond
	newSampleShare = 0.1 // least share of a new measurement in the smoothed one
	slowFrom       = 1.5
	maxCompared    = 64
)

func (leastTime) pick(l *level, a pickInput) int {
	l.some = l.running.spread(l.some[:0], maxCompared, l.turn)
	l.turn++
	answered := false // some server has answered: those that have not are not measured
	for _, i := range l.some {
		answered = answered || l.times[i].answer.took > 0
	}
	var times, scores [maxCompared]float64
	fastest := math.Inf(1)
	for k, i := range l.some {
		if times[k] = l.times[i].current(a.now, answered); times[k] > 0 {
			fastest = min(fastest, times[k])
		}
	}
	if math.IsInf(fastest, 1) {
		fastest = 1
	}
	least := math.Inf(1)
	for k, i := range l.some {
		took := times[k]
		if took == 0 {
			took = fastest
		}
		scores[k] = took * max(1, took/(slowFrom*fastest)) * float64(l.load[i]+1) / float64(l.steps[i])
		least = min(least, scores[k])
	}
	tied := l.some[:0]
	for k, i := range l.some {
		if scores[k] == least {
			tied = append(tied, i)
		}
	}
	if len(tied) == 1 {
		return int(tied[0])
	}
	return l.subset.next(tied, func(i int32) int64 { return l.steps[i] })
}

// serverTimes are the measured times of a server.
type serverTimes struct {
	connect, answer smoothedTime
	triedAt         time.Duration // when the last session was sent to it
}

// current returns the time to connect and to answer, after the decay by age; 0 = not measured. Without answers it is that
// to connect.
func (t *serverTimes) current(now time.Duration, answers bool) float64 {
	switch {
	case !answers:
		return t.connect.decayed(now, t.triedAt)
	case t.answer.took == 0:
		return 0
	}
	return t.connect.decayed(now, t.triedAt) + t.answer.decayed(now, t.triedAt)
}

// smoothedTime is a moving average of a time.
type smoothedTime struct {
	took float64 // nanoseconds, at least 1; 0 = never measured
	at   time.Duration
}

// add adds a measurement. Its share is larger the older the last one is.
func (m *smoothedTime) add(now, took time.Duration) {
	t := float64(max(1, took))
	if m.took > 0 {
		share := newSampleShare
		if age := float64(now-m.at) / float64(halfLife); age > newSampleShare { // 1-2^-x < x
			share = max(share, 1-math.Exp2(-age))
		}
		t = m.took*(1-share) + t*share
	}
	m.took, m.at = t, now
}

// decayed returns the measurement after its decay by the time since it or the last attempt; 0 = never measured.
func (m *smoothedTime) decayed(now, triedAt time.Duration) float64 {
	if age := now - max(m.at, triedAt); age >= halfLife/8 && m.took > 0 {
		return max(1, m.took*math.Exp2(-float64(age)/float64(halfLife)))
	}
	return m.took
}

// Answered records how long a session of the lease has waited for the first byte of the server's answer. Only the method
// LeastTime uses it (Cluster.MeasuresAnswers).
func (l *Lease) Answered(now, took time.Duration) {
	if l.server == nil {
		return
	}
	s, c := l.server, l.server.cluster
	c.lock(now)
	defer c.unlock()
	if c.leases.valid(l.id) {
		s.times.answer.add(c.now, took)
		s.publishTimes()
	}
}

// MeasuresAnswers reports whether the method uses what Answered records. It takes no lock.
func (c *Cluster) MeasuresAnswers() bool { return c.measuresAnswers.Load() }

// publishTimes copies a server's times to its levels.
func (s *Server) publishTimes() {
	for _, p := range s.placements {
		p.level.setTimes(p.slot, &s.times)
	}
}

func (l *level) setTimes(i int, t *serverTimes) {
	if l.times != nil {
		l.times[i] = *t
	}
}
