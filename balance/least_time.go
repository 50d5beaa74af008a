package balance

import (
	"math"
	"time"
)

// leastTime picks the server with the smallest connect time × (sessions+1) / weight. Ties go by smooth weighted round
// robin.
//
// A server without a measurement counts as fast as the fastest one, so that it is tried without receiving every
// session. A measurement is halved with every halfLife of age, so a server that was slow once is tried again.
type leastTime struct{}

const (
	halfLife       = 10 * time.Second
	newSampleShare = 0.3 // share of a new measurement in the smoothed one
)

func (leastTime) pick(l *level, a pickInput) int {
	fastest := math.Inf(1)
	for i, step := range l.steps {
		if m := &l.connectTimes[i]; step > 0 && m.took > 0 {
			fastest = min(fastest, m.decayed(a.now))
		}
	}
	if math.IsInf(fastest, 1) {
		fastest = 1
	}
	score := func(i int, step int64) float64 {
		took := fastest
		if m := &l.connectTimes[i]; m.took > 0 {
			took = m.decayed(a.now)
		}
		return took * float64(l.load[i]+1) / float64(step)
	}
	best, least, ties := -1, math.Inf(1), 0
	for i, step := range l.steps {
		if step == 0 {
			continue
		}
		if s := score(i, step); s < least {
			best, least, ties = i, s, 1
		} else if s == least {
			ties++
		}
	}
	if ties == 1 {
		return best
	}
	return l.subset.next(best, func(i int) int64 {
		if step := l.steps[i]; step > 0 && score(i, step) == least {
			return step
		}
		return 0
	})
}

// connectTime is a server's smoothed connect time.
type connectTime struct {
	took float64 // nanoseconds, at least 1; 0 = never measured
	at   time.Duration
}

func (m *connectTime) add(now, took time.Duration) {
	t := float64(max(1, took))
	if m.took > 0 {
		t = m.decayed(now)*(1-newSampleShare) + t*newSampleShare
	}
	m.took, m.at = t, now
}

// decayed returns the measurement after its decay by age; 0 = never measured.
func (m *connectTime) decayed(now time.Duration) float64 {
	if age := now - m.at; age >= halfLife && m.took > 0 {
		return max(1, math.Ldexp(m.took, -int(age/halfLife)))
	}
	return m.took
}
