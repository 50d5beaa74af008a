package rollout

import (
	"errors"
	"fmt"
	"time"
)

// Request is what an operator asks for.
type Request struct {
	By       string
	Canaries int
	Pause    time.Duration
	Driver   Member // the node that was asked
	At       time.Time
}

// ActiveError is returned when another roll-out is in progress.
type ActiveError struct{ Record *Record }

func (e *ActiveError) Error() string {
	r := e.Record
	return fmt.Sprintf("the roll-out of revision %d by %s is in progress (%s)", r.To, r.By, r.Phase)
}

// ErrInvalid is returned for a request with a value out of range.
var ErrInvalid = errors.New("invalid request")

// ErrNoPrevious is returned by Undo if there is no earlier revision.
var ErrNoPrevious = errors.New("there is no earlier revision of the configuration")

// Begin returns the record with which the roll-out of a new revision begins, whose number is Record.To. last is the record
// in the store; nil = none.
func Begin(last *Record, req Request) (*Record, error) {
	r, err := next(last, req)
	if err != nil {
		return nil, err
	}
	r.Last++
	r.To = r.Last
	return r, nil
}

// Undo returns the record that leads back to the revision before the current one. During a roll-out it is the end of it, by
// any operator.
func Undo(last *Record, req Request) (*Record, error) {
	if last != nil && last.Phase.Active() {
		end := RolledBack
		if last.Phase == Validating {
			end = Refused
		}
		return last.finished(end, Reason{Text: "rolled back by " + req.By}, req.At), nil
	}
	r, err := next(last, req)
	if err != nil {
		return nil, err
	}
	if last == nil || last.Previous == last.Current() {
		return nil, ErrNoPrevious
	}
	r.To = last.Previous
	return r, nil
}

// ErrNone is returned by Clear if there is no shared configuration.
var ErrNone = errors.New("the fleet has no shared configuration")

// Clear returns the record with which the nodes return to their files. When it is done, no revision is kept: there is none to roll
// back to.
func Clear(last *Record, req Request) (*Record, error) {
	if last == nil {
		return nil, ErrNone
	}
	r, err := next(last, req)
	if err != nil {
		return nil, err
	}
	r.To, r.Clear = 0, true
	return r, nil
}

// next returns a record in the phase validating.
func next(last *Record, req Request) (*Record, error) {
	r := &Record{
		ID: 1, Phase: Validating, Canaries: req.Canaries, Pause: req.Pause, Driver: req.Driver,
		By: clip(req.By, maxText), Began: req.At, History: []Entry{},
	}
	switch {
	case req.Canaries < 0 || req.Canaries > maxInStep:
		return nil, fmt.Errorf("%w: canary: want 0 to %d nodes, got %d", ErrInvalid, maxInStep, req.Canaries)
	case req.Pause < 0 || req.Pause > maxPause:
		return nil, fmt.Errorf("%w: pause: want 0s to %s, got %s", ErrInvalid, maxPause, req.Pause)
	case last == nil:
		return r, nil
	case last.Phase.Active():
		return nil, &ActiveError{last}
	}
	r.ID, r.From, r.Previous, r.Last, r.History = last.ID+1, last.Current(), last.Previous, last.Last, last.History
	return r, nil
}
