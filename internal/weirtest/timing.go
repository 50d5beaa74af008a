package weirtest

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
)

// RequireBetween checks that a time that is just over is at least what was asked for and exceeds it by little more than a tenth,
// what the machine was late itself not counted: half a second is what a busy one is given, and more under the race detector.
func RequireBetween(t *testing.T, want, got time.Duration) {
	t.Helper()
	slack := 500 * time.Millisecond
	if RaceEnabled {
		slack = 1500 * time.Millisecond
	}
	require.GreaterOrEqual(t, got, want-5*time.Millisecond)
	require.Less(t, got-nettest.StalledSince(time.Now().Add(-got)), want+want/10+slack)
}

// Median of durations, which it sorts.
func Median(d []time.Duration) time.Duration { return Percentile(d, 50) }

// Percentile of durations, which it sorts.
func Percentile(d []time.Duration, percent int) time.Duration {
	slices.Sort(d)
	return d[len(d)*percent/100]
}
