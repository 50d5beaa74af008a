package weirtest

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
)

// RequireBetween checks that an elapsed time, which ends now, is at least want and exceeds it by little more than a
// tenth. Delays of the machine itself are not counted. The margin is half a second, and more under the race detector.
func RequireBetween(t *testing.T, want, got time.Duration) {
	t.Helper()
	require.GreaterOrEqual(t, got, want-5*time.Millisecond)
	RequireLittleMore(t, want, got-nettest.StalledSince(time.Now().Add(-got)))
}

// RequireLittleMore is the upper half of RequireBetween, for a time without delays of the machine: see nettest.Elapsed.
func RequireLittleMore(t *testing.T, want, got time.Duration) {
	t.Helper()
	slack := 500 * time.Millisecond
	if RaceEnabled {
		slack = 1500 * time.Millisecond
	}
	require.Less(t, got, want+want/10+slack)
}

// WithTime runs an attempt with a time: a timeout of weir within which the attempt must have acted. It returns false if this machine
// was too slow for that; the next attempt has twice the time. What depends on the time must not be asserted before that is known.
func WithTime(t *testing.T, d time.Duration, attempt func(t *testing.T, d time.Duration) (inTime bool)) {
	t.Helper()
	for range 5 {
		inTime := true
		if !t.Run(d.String(), func(t *testing.T) { inTime = attempt(t, d) }) || inTime {
			return
		}
		d *= 2
	}
	t.Error("this machine is too slow for the test")
}

// Median returns the median of durations, which it sorts.
func Median(d []time.Duration) time.Duration { return Percentile(d, 50) }

// Percentile returns a percentile of durations, which it sorts.
func Percentile(d []time.Duration, percent int) time.Duration {
	slices.Sort(d)
	return d[len(d)*percent/100]
}
