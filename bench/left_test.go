package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestWhatIsLeftOfTheRuns(t *testing.T) {
	r := &runner{options: options{seconds: 2, rounds: 3}}
	one := job{row: row{name: "tcp-64"}, product: product{name: "weir"}, round: 2}
	jobs := []job{one, one, one}
	require.Equal(t, "[4/6] tcp-64, round 2 of 3, weir: 0s; about "+r.estimate(jobs).String()+" left", r.left(jobs, 4, 6, 0))
	require.Contains(t, r.left(jobs, 4, 6, time.Minute), "weir: 1m0s; about ", "a run that takes longer than estimated")
	require.Contains(t, r.left(jobs[:1], 6, 6, time.Minute), "about 0s left")
}
