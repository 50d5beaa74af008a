package cli

// The last minutes of each server, as sparklines.

import (
	"math"
	"time"

	"weir/internal/status"
)

// A history has historyPoints points for each server. Each is the highest value of an interval. With four values it takes 1 kB for a
// server.
const (
	historyPoints   = 60
	historyInterval = 5 * time.Second
)

// points are the values of one quantity in a ring; NaN = not known.
type points [historyPoints]float32

// series are the histories of a server.
type series struct{ sessions, started, bytes, failures points }

func newSeries() *series {
	s := &series{}
	for _, p := range s.all() {
		for i := range p {
			p[i] = float32(math.NaN())
		}
	}
	return s
}

func (s *series) all() []*points { return []*points{&s.sessions, &s.started, &s.bytes, &s.failures} }

// history holds the series of all servers of the latest document.
type history struct {
	interval int64              // the number of the current interval
	of       map[rowKey]*series // without level
}

// next adds the values of a document that arrived at a time.
func (h *history) next(now time.Time, doc *status.Document, r *rates) {
	interval := now.UnixNano() / int64(historyInterval)
	fresh := min(max(0, interval-h.interval), historyPoints)
	h.interval = max(h.interval, interval)
	for _, s := range h.of {
		for i := range fresh {
			at := (h.interval - i) % historyPoints
			for _, p := range s.all() {
				p[at] = float32(math.NaN())
			}
		}
	}
	at := h.interval % historyPoints
	put := func(p *points, value float64) {
		if v := float32(value); !(p[at] >= v) {
			p[at] = v
		}
	}
	of := make(map[rowKey]*series, len(h.of))
	for i := range doc.Clusters {
		c := &doc.Clusters[i]
		for j := range c.Levels {
			for k := range c.Levels[j].Servers {
				server := &c.Levels[j].Servers[k]
				key := rowKey{cluster: c.Name, server: server.Name}
				if of[key] != nil {
					continue // of another level
				}
				s := h.of[key]
				if s == nil {
					s = newSeries()
				}
				of[key] = s
				put(&s.sessions, float64(server.Sessions))
				if now, ok := r.now[key]; ok {
					put(&s.started, now.sessions)
					put(&s.bytes, now.up+now.down)
					put(&s.failures, now.failures)
				}
			}
		}
	}
	h.of = of
}

// get returns the series of a server, which may have no values.
func (h *history) get(key rowKey) *series {
	key.level = ""
	if s := h.of[key]; s != nil {
		return s
	}
	return newSeries()
}

// spark draws the last n points, the newest on the right, as bars from 0 to the highest of them. A point that is not known is blank.
func (h *history) spark(p *points, n int) string {
	n = max(0, min(n, historyPoints))
	most := p.most(h.interval, n)
	bars := []rune("▁▂▃▄▅▆▇█")
	text := make([]rune, n)
	for i := range text {
		v := float64(p[(h.interval-int64(n-1-i)+historyPoints)%historyPoints])
		switch {
		case math.IsNaN(v):
			text[i] = ' '
		case v <= 0 || most <= 0:
			text[i] = bars[0]
		default:
			text[i] = bars[max(1, int(math.Ceil(v/most*7)))]
		}
	}
	return string(text)
}

// most returns the highest of the last n points, or 0.
func (p *points) most(interval int64, n int) (most float64) {
	for i := range int64(n) {
		if v := float64(p[(interval-i+historyPoints)%historyPoints]); v > most {
			most = v
		}
	}
	return most
}
