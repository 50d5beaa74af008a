package vip

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestGate(t *testing.T) {
	type step struct {
		at      time.Duration
		blocked bool
		hold    time.Duration
		open    bool
		wait    time.Duration
	}
	const s = time.Second
	for name, c := range map[string]struct {
		open  bool
		steps []step
	}{
		"opens after hold":               {false, []step{{0, false, 3 * s, false, 3 * s}, {s, false, 3 * s, false, 2 * s}, {3 * s, false, 3 * s, true, 0}, {9 * s, false, 3 * s, true, 0}}},
		"opens at once without hold":     {false, []step{{0, false, 0, true, 0}}},
		"closes at once":                 {false, []step{{0, false, 0, true, 0}, {s, true, 0, false, 0}}},
		"holds again after an interrupt": {false, []step{{0, false, 3 * s, false, 3 * s}, {2 * s, true, 3 * s, false, 0}, {4 * s, false, 3 * s, false, 3 * s}, {7 * s, false, 3 * s, true, 0}}},
		"stays open from the start":      {true, []step{{0, false, 3 * s, true, 0}, {s, false, 3 * s, true, 0}}},
		"open at the start, blocked":     {true, []step{{0, true, 3 * s, false, 0}, {s, false, 3 * s, false, 3 * s}}},
		"a shorter hold applies at once": {false, []step{{0, false, 60 * s, false, 60 * s}, {4 * s, false, 3 * s, true, 0}}},
		"a longer hold applies at once":  {false, []step{{0, false, 3 * s, false, 3 * s}, {3 * s, false, 10 * s, false, 7 * s}}},
		"a longer hold does not close":   {false, []step{{0, false, 0, true, 0}, {s, false, 10 * s, true, 0}}},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewGate(c.open)
			for _, s := range c.steps {
				open, wait := g.Step(s.at, s.blocked, s.hold)
				require.Equal(t, s.open, open, s)
				require.Equal(t, s.wait, wait, s)
			}
		})
	}
}

// At random times, a gate is open exactly if nothing has blocked it at any step within the last hold, or since it was open.
func TestGateProperty(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		hold := time.Duration(r.IntN(5)) * time.Second
		g, now := NewGate(false), time.Duration(0)
		free := time.Duration(-1) // since when nothing blocks it; -1 = it is blocked
		for range 200 {
			now += time.Duration(r.IntN(2000)) * time.Millisecond
			blocked := r.IntN(4) == 0
			switch {
			case blocked:
				free = -1
			case free < 0:
				free = now
			}
			open, wait := g.Step(now, blocked, hold)
			require.Equal(t, free >= 0 && now-free >= hold, open)
			if !open && free >= 0 {
				require.Equal(t, free+hold-now, wait)
			} else {
				require.Zero(t, wait)
			}
		}
	}
}
