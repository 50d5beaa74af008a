package history

import "time"

// columns are the values of a point, in this order.
const (
	sessions = iota
	newSessions
	bytesUp
	bytesDown
	dialFailures
	dialP50
	dialP99
	columns
)

// series is a ring of points. Its size never changes.
type series struct {
	step   int // samples per point
	from   int // number of the first point
	next   int // number of the next point
	values []half
}

// seriesSize is the memory of a series, in bytes.
func seriesSize(step int) int { return Span / step * columns * 2 }

func newSeries(step int) *series {
	return &series{step: step, values: make([]half, Span/step*columns)}
}

func (s *series) points() int { return Span / s.step }

func (s *series) slot(number int) []half {
	at := number % s.points() * columns
	return s.values[at : at+columns]
}

// add appends the point that ends now; number is its number in all series with this step.
func (s *series) add(number int, p *pending, at time.Duration, bounds *[Buckets - 1]time.Duration) {
	seconds := (at - p.since).Seconds()
	slot := s.slot(number)
	if number != s.next { // the first point
		s.from, s.next = number, number
	}
	slot[sessions] = encode(float64(p.sessions))
	slot[newSessions] = encode(float64(p.grown.Sessions) / seconds)
	slot[bytesUp] = encode(float64(p.grown.BytesUp) / seconds)
	slot[bytesDown] = encode(float64(p.grown.BytesDown) / seconds)
	slot[dialFailures] = encode(float64(p.grown.DialFailures) / seconds)
	slot[dialP50] = encode(quantile(0.5, &p.grown.Dials, bounds))
	slot[dialP99] = encode(quantile(0.99, &p.grown.Dials, bounds))
	s.next++
	s.from = max(s.from, s.next-s.points())
}

// pending is what has happened since the last point.
type pending struct {
	since    time.Duration
	sessions int // most at a sample
	grown    Counters
}

func (p *pending) reset(at time.Duration) { *p = pending{since: at} }
