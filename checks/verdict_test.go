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
		results    string // S a pass, F a failure, R the other role, M no room
		verdicts   string // the verdict after each: Up, Down, Standby or Full
	}{
		{"down at the third failure, up at the second pass", 2, 3, "FFFSSF", "UUDDUU"},
		{"a pass starts the count of failures again", 2, 3, "FFSFFSFFF", "UUUUUUUUD"},
		{"a failure starts the count of passes again", 2, 3, "FFFSFSS", "UUDDDDU"},
		{"alternating results change nothing", 2, 3, strings.Repeat("FS", 100), strings.Repeat("UU", 100)},
		{"alternating results change nothing for one that is down", 2, 3, "FFF" + strings.Repeat("SF", 100), "UUD" + strings.Repeat("DD", 100)},
		{"one and one follow every result", 1, 1, "FSFFSS", "DUDDUU"},
		{"less than one counts as one", 0, 0, "FS", "DU"},
		{"standby after fall, up after rise", 2, 3, "RRRSRSS", "UUSSSSU"},
		{"failures of both kinds count together", 2, 3, "FRFRR", "UUDDS"},
		{"down from standby", 2, 3, "RRRFRFFF", "UUSSSSSD"},
		{"full at once, until a pass", 2, 3, "MMFMFFS", "FFFFFFU"},
		{"down from full", 2, 3, "MFFF", "FFFD"},
		{"full from standby, and back", 2, 3, "RRRMRMS", "UUSFSFU"},
		{"down until rise answers in a row", 2, 3, "FFFMFMM", "UUDDDDF"},
	} {
		t.Run(row.name, func(t *testing.T) {
			var v Verdict
			var got strings.Builder
			for _, r := range row.results {
				v = v.Step(testOutcomes[r], row.rise, row.fall)
				got.WriteByte("UFSD"[v.State])
			}
			require.Equal(t, row.verdicts, got.String())
		})
	}
}

var testOutcomes = map[rune]Outcome{'S': Passed, 'F': Failed, 'R': Standby, 'M': Full}

func TestFirstResultDecidesAlone(t *testing.T) {
	for _, outcome := range testOutcomes {
		for _, state := range testOutcomes {
			require.Equal(t, Verdict{State: outcome}, Verdict{State: state, First: true}.Step(outcome, 5, 5))
		}
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
			result := Passed
			if !pass {
				result = Failed
			}
			v = v.Step(result, rise, fall)
			if v.State != before.State && (v.State == Failed) != (failures == fall) {
				t.Fatalf("changed to %+v after %d failures, %d passes", v, failures, passes)
			}
			if v.State == Passed && failures >= fall || v.State == Failed && passes >= rise {
				t.Fatalf("%+v after %d failures, %d passes", v, failures, passes)
			}
		}
	})
}
