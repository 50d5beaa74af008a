package checks

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestVerdictStep(t *testing.T) {
	for _, row := range []struct {
		name       string
		rise, fall int
		results    string // S a pass, F a failure
		verdicts   string // the verdict after each: U or D
	}{
		{"down at the third failure, up at the second pass", 2, 3, "FFFSSF", "UUDDUU"},
		{"a pass starts the count of failures again", 2, 3, "FFSFFSFFF", "UUUUUUUUD"},
		{"a failure starts the count of passes again", 2, 3, "FFFSFSS", "UUDDDDU"},
		{"alternating results change nothing", 2, 3, strings.Repeat("FS", 100), strings.Repeat("UU", 100)},
		{"alternating results change nothing for one that is down", 2, 3, "FFF" + strings.Repeat("SF", 100), "UUD" + strings.Repeat("DD", 100)},
		{"one and one follow every result", 1, 1, "FSFFSS", "DUDDUU"},
		{"less than one counts as one", 0, 0, "FS", "DU"},
	} {
		t.Run(row.name, func(t *testing.T) {
			var v Verdict
			var got strings.Builder
			for _, r := range row.results {
				v = v.Step(r == 'S', row.rise, row.fall)
				got.WriteByte(map[bool]byte{false: 'U', true: 'D'}[v.Down])
			}
			require.Equal(t, row.verdicts, got.String())
		})
	}
}

func TestVerdictDoesNotChangeBelowThresholds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rise, fall := rapid.IntRange(1, 5).Draw(t, "rise"), rapid.IntRange(1, 5).Draw(t, "fall")
		results := rapid.SliceOfN(rapid.Bool(), 1, 200).Draw(t, "results")
		var v Verdict
		passes, failures := 0, 0
		for _, pass := range results {
			if pass {
				passes, failures = passes+1, 0
			} else {
				passes, failures = 0, failures+1
			}
			before := v
			v = v.Step(pass, rise, fall)
			if v.Down != before.Down && v.Down != (failures == fall) {
				t.Fatalf("changed to %+v after %d failures, %d passes", v, failures, passes)
			}
			if !v.Down && failures >= fall || v.Down && passes >= rise {
				t.Fatalf("%+v after %d failures, %d passes", v, failures, passes)
			}
		}
	})
}
