package checks

// Verdict is the result of a check after rise and fall. The zero value is up.
type Verdict struct {
	State  Outcome
	Streak int  // consecutive results against the verdict; 0 if the last result agreed with it
	First  bool // there was no result yet: the next one decides alone
}

// Step returns the verdict after one more result:
//
//	verdict               result             new verdict
//	any, First is set     any                the result
//	up, standby, full     as the verdict     the same, streak 0
//	up, standby           full               full
//	full                  pass or standby    the result
//	up, standby, full     fail               the same, streak+1; with the streak of fall: down
//	up                    standby            the same, streak+1; with the streak of fall: standby
//	standby               pass               the same, streak+1; with the streak of rise: up
//	down                  fail               down, streak 0
//	down                  any other          down, streak+1; with the streak of rise: the result
//
// So a server is full from the first refusal until a check passes. The streak counts results of every kind against the
// verdict. A rise or fall below 1 counts as 1.
func (v Verdict) Step(result Outcome, rise, fall int) Verdict {
	need := fall
	switch {
	case v.First, result == v.State, result == Full && v.State != Failed, v.State == Full && result != Failed:
		return Verdict{State: result}
	case v.State == Failed, result == Passed:
		need = rise
	}
	if v.Streak+1 >= need {
		return Verdict{State: result}
	}
	return Verdict{State: v.State, Streak: v.Streak + 1}
}

// Changing reports whether the last result was against the verdict.
func (v Verdict) Changing() bool { return v.Streak > 0 }
