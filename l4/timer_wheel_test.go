package l4

import (
	"sort"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// Every timer fires once, in the tick of its time or the next one, in the order of ticks. A stopped timer never fires.
func TestWheelFiresInTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var w wheel[*session]
		start := time.Duration(rapid.Int64Range(0, int64(90*24*time.Hour)).Draw(t, "start"))
		w.now = uint64(start / wheelTick)
		now := start
		type entry struct {
			s  *session
			at time.Duration
		}
		armed := map[*session]time.Duration{}
		spans := []time.Duration{0, time.Millisecond, 63 * time.Millisecond, 64 * time.Millisecond, time.Second, time.Minute, time.Hour, 100 * time.Hour}
		span := rapid.SampledFrom(spans)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 3).Draw(t, "step") {
			case 0, 1: // arm a new one
				s := &session{}
				s.timer.owner = s
				at := now + span.Draw(t, "span") + time.Duration(rapid.Int64Range(0, int64(70*time.Millisecond)).Draw(t, "more"))
				w.arm(&s.timer, at)
				armed[s] = at
			case 2: // discard or move one
				all := make([]entry, 0, len(armed))
				for s, at := range armed {
					all = append(all, entry{s, at})
				}
				if len(all) == 0 {
					continue
				}
				sort.Slice(all, func(i, j int) bool { return all[i].s.timer.tick < all[j].s.timer.tick })
				e := all[rapid.IntRange(0, len(all)-1).Draw(t, "which")]
				if rapid.Bool().Draw(t, "move") {
					at := now + span.Draw(t, "span")
					w.arm(&e.s.timer, at)
					armed[e.s] = at
				} else {
					w.stop(&e.s.timer)
					delete(armed, e.s)
				}
			case 3: // let time pass
				now += span.Draw(t, "span") + time.Duration(rapid.Int64Range(0, int64(5*time.Millisecond)).Draw(t, "more"))
				last := time.Duration(0)
				w.advance(now, func(s *session) {
					at, ok := armed[s]
					require.True(t, ok, "fired though not armed")
					require.LessOrEqual(t, at, now, "fired early")
					require.False(t, s.timer.armed)
					tick := time.Duration(w.now) * wheelTick
					require.GreaterOrEqual(t, tick, at)
					require.GreaterOrEqual(t, tick, last, "out of order")
					last = tick
					delete(armed, s)
				})
				for s, at := range armed {
					require.Greater(t, at, now-2*wheelTick, "timer at %v did not fire by %v", at, now)
					require.True(t, s.timer.armed)
				}
				if due, ok := w.next(); ok {
					require.Greater(t, due, now-wheelTick)
					for _, at := range armed {
						require.LessOrEqual(t, due, at+wheelTick, "next would sleep past a timer")
					}
				} else {
					require.Empty(t, armed)
				}
			}
		}
	})
}

// A timer may be armed again while it fires.
func TestWheelRearmWhileFiring(t *testing.T) {
	var w wheel[*session]
	s := &session{}
	s.timer.owner = s
	w.arm(&s.timer, 10*time.Millisecond)
	fired := 0
	for now := time.Duration(0); now < time.Second; now += 7 * time.Millisecond {
		w.advance(now, func(s *session) {
			fired++
			w.arm(&s.timer, time.Duration(w.now)*wheelTick+100*time.Millisecond)
		})
	}
	require.Equal(t, 9+1, fired)
}
