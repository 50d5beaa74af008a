package checks

import "errors"

// Outcome is what the result of one run says about the server.
type Outcome uint8

// The outcomes of a run.
const (
	Passed  Outcome = iota // the server can serve
	Full                   // it works and has no room for another connection
	Standby                // it works and has another role than the one asked for
	Failed                 // it does not work
)

// String returns the word for a verdict with this outcome.
func (o Outcome) String() string {
	return [...]string{Passed: "up", Full: "full", Standby: "standby", Failed: "down"}[o]
}

// StandbyError is the error of a server that answered and has another role than the one asked for.
type StandbyError struct{ Err error }

func (e *StandbyError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *StandbyError) Unwrap() error { return e.Err }

// FullError is the error of a server that refused the check because it has no room for another connection.
type FullError struct{ Err error }

func (e *FullError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *FullError) Unwrap() error { return e.Err }

// outcomeOf returns the outcome of a monitor's error. It is not a shortage.
func outcomeOf(err error) Outcome {
	var standby *StandbyError
	var full *FullError
	switch {
	case err == nil:
		return Passed
	case errors.As(err, &full):
		return Full
	case errors.As(err, &standby):
		return Standby
	}
	return Failed
}
