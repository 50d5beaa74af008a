package engine

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A pause between the readings of the two times, or their precision, does not change the times that are shown; a clock that was set
// does.
func TestClockIsSteadyThroughPauses(t *testing.T) {
	origin := time.Date(2025, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, c := range []struct {
		off, pause time.Duration
		kept       bool
	}{
		{time.Microsecond, 0, true}, {-2 * time.Millisecond, 0, true}, {200 * time.Millisecond, 210 * time.Millisecond, true},
		{time.Second, time.Millisecond, false}, {-time.Hour, 0, false}, {30 * time.Millisecond, 0, false},
	} {
		read := clock{origin.Add(c.off)}
		want := read
		if c.kept {
			want.origin = origin
		}
		require.Equal(t, want, read.settled(&origin, c.pause), "%v after %v", c.off, c.pause)
		require.Equal(t, read, read.settled(nil, c.pause), "the first reading")
	}
}
