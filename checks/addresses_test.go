package checks

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTargetWithSeveralAddressesPassesWhileOnePasses(t *testing.T) {
	t.Parallel()
	broken, shortage := errors.New("broken"), fmt.Errorf("%w: none left", ErrShortage)
	for name, test := range map[string]struct {
		results map[string]error
		want    error
		failed  []string
	}{
		"all pass":              {map[string]error{}, nil, nil},
		"one passes":            {map[string]error{"a": broken, "b": &StandbyError{broken}}, nil, []string{"a", "b"}},
		"a shortage stays open": {map[string]error{"a": broken, "b": shortage, "c": broken}, shortage, []string{"a", "c"}},
		"full before failed":    {map[string]error{"a": broken, "b": broken, "c": &FullError{broken}}, &FullError{broken}, []string{"a", "b", "c"}},
		"all fail":              {map[string]error{"a": broken, "b": broken, "c": broken}, broken, []string{"a", "b", "c"}},
	} {
		monitor := func(_ context.Context, t Target) (Report, error) {
			return Report{Detail: t.Address}, test.results[t.Address]
		}
		_, failed, err := testAddresses(context.Background(), &Job{Monitor: monitor, Target: Target{Address: "a", More: "b c"}})
		require.Equal(t, test.want, err, name)
		require.Equal(t, test.failed, failed, name)
	}
	_, _, err := testAddresses(context.Background(), &Job{Target: Target{Host: "db.example"}})
	require.ErrorIs(t, err, ErrUnresolved)
	require.True(t, IsShortage(err))
}

func TestRunnerDeliversSkips(t *testing.T) {
	t.Parallel()
	skips := make(chan Skip, 100)
	r := NewRunner(Options{
		Skipped: func(s Skip) {
			select {
			case skips <- s:
			default:
			}
		},
		Result: func(Result) { t.Error("a shortage is no result") },
	})
	defer r.Close()
	job := Job{Target: Target{Cluster: "c", Server: "s", Host: "db.example"}}
	job.Spec.ID, job.Spec.Interval, job.Spec.Rise, job.Spec.Fall = "tcp", 10*time.Millisecond, 1, 1
	r.Update([]Job{job})
	for n := range 3 {
		s := <-skips
		require.Equal(t, n+1, s.Count)
		require.Equal(t, "resolver", s.Reason)
		require.Contains(t, ShortageReasons(), s.Reason)
	}
}

func TestStallDuringRunIsDetected(t *testing.T) {
	t.Parallel()
	var d stallDetector
	at := time.Now()
	require.True(t, d.tick(at, true))
	require.False(t, d.duringRun(at, at.Add(stallTick+stallMin)))
	require.True(t, d.duringRun(at, at.Add(stallTick+2*stallMin)), "the scheduler has not woken")
	resumed := at.Add(time.Second)
	require.False(t, d.tick(resumed, false))
	require.True(t, d.duringRun(at, resumed.Add(time.Hour)), "nothing runs now, but the stall was in this run")
	require.False(t, d.duringRun(resumed, resumed.Add(time.Hour)))
}
