package checks

// Verdict is the result of a check after rise and fall. The zero value is up, the verdict of a server that was not
// checked yet.
type Verdict struct {
	Down   bool
	Streak int // consecutive results against the verdict; 0 if the last result agreed with it
}

// Step returns the verdict after one more result:
//
//	verdict  result  streak+1     new verdict  new streak
//	up       pass    –            up           0
//	up       fail    below fall   up           streak+1
//	up       fail    fall         down         0
//	down     fail    –            down         0
//	down     pass    below rise   down         streak+1
//	down     pass    rise         up           0
//
// A rise or fall below 1 counts as 1.
func (v Verdict) Step(pass bool, rise, fall int) Verdict {
	if pass != v.Down {
		return Verdict{Down: v.Down}
	}
	need := fall
	if v.Down {
		need = rise
	}
	if v.Streak+1 >= need {
		return Verdict{Down: !v.Down}
	}
	return Verdict{Down: v.Down, Streak: v.Streak + 1}
}

// Changing reports whether the last result was against the verdict.
func (v Verdict) Changing() bool { return v.Streak > 0 }
