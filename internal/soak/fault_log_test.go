package soak

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTolerancesExcludeSuspensions(t *testing.T) {
	start := time.Now().Add(-time.Minute)
	at := func(seconds float64) time.Time { return start.Add(time.Duration(seconds * float64(time.Second))) }
	log := &faultLog{entries: []*faultEntry{
		{fault: suspended, subject: "weir", from: at(10), to: at(14)},
		{fault: killed, subject: "weir", from: at(16), to: at(19)},
		{fault: suspended, subject: "weir", from: at(20), to: at(21)},
	}}
	for _, c := range []struct{ t, d, before, after float64 }{
		{5, 2, 3, 7},         // no suspension on the way
		{9, 2, 7, 15},        // one after it
		{15, 2, 9, 17},       // one before it
		{12, 2, 8, 16},       // within one
		{19, 2, 17, 22},      // another fault is no suspension
		{22, 8, 9, 30},       // two before it
		{13, 10, 0, 25},      // both, the second reached because of the first
		{10, 1, 9, 15},       // at the beginning of one
		{14, 0.5, 9.5, 14.5}, // at the end of one
	} {
		d := time.Duration(c.d * float64(time.Second))
		require.Equal(t, at(c.before), log.before(at(c.t), d), "%v before %v", c.d, c.t)
		require.Equal(t, at(c.after), log.after(at(c.t), d), "%v after %v", c.d, c.t)
	}
}

// A suspension that lasts moves a time as far as it has lasted.
func TestTolerancesExcludeSuspensionThatLasts(t *testing.T) {
	log := &faultLog{}
	now := time.Now()
	log.entries = append(log.entries, &faultEntry{fault: suspended, subject: "weir", from: now.Add(-3 * time.Second)})
	require.Equal(t, now.Add(-5*time.Second), log.before(now, 2*time.Second))
	require.GreaterOrEqual(t, log.after(now.Add(-time.Second), time.Minute), now.Add(time.Minute))
}

func TestExtendFollowsFaultsWithoutAGap(t *testing.T) {
	at := time.Now().Add(-time.Hour)
	l := &faultLog{}
	for _, e := range []struct{ from, to int }{{10, 20}, {15, 30}, {31, 40}, {0, 4}} {
		l.entries = append(l.entries, &faultEntry{fault: waiting, subject: "l0", from: at.Add(time.Duration(e.from) * time.Second), to: at.Add(time.Duration(e.to) * time.Second)})
	}
	second := func(n int) time.Time { return at.Add(time.Duration(n) * time.Second) }
	require.Equal(t, second(30), l.extend(second(5), second(12), "l0", waiting))
	require.Equal(t, second(9), l.extend(second(5), second(9), "l0", waiting))
	require.Equal(t, second(12), l.extend(second(5), second(12), "l1", waiting))
	require.Equal(t, second(12), l.extend(second(5), second(12), "l0", limit))
}
