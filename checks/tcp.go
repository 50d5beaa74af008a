package checks

import (
	"context"
	"fmt"
	"regexp"

	"weir/conf"
)

// TCP connects and, if there are steps, holds a dialogue.
//
// Without steps nothing is said: the connection is reset before the server's program gets to see it, so a check leaves
// no trace in its log and does not count against this host. A server whose accept queue is full does not pass.
type TCP struct {
	Steps []conf.Step // in order; each sends first, then reads until what is expected has come
}

// Monitor returns the monitor. The error tells a regular expression that does not compile.
func (o TCP) Monitor() (Monitor, error) {
	steps, err := compile(o.Steps)
	if err != nil {
		return nil, err
	}
	if len(steps) == 0 {
		return connectOnly, nil
	}
	return func(ctx context.Context, t Target) (Report, error) { return Report{}, talk(ctx, t, steps) }, nil
}

// step is one step of a dialogue, ready to be used.
type step struct {
	send   []byte
	expect []byte
	regex  *regexp.Regexp
}

func (s step) expects() bool { return len(s.expect) > 0 || s.regex != nil }

func compile(specs []conf.Step) ([]step, error) {
	steps := make([]step, 0, len(specs))
	for i, spec := range specs {
		s := step{send: spec.Send, expect: spec.Expect}
		if spec.Regex != "" {
			var err error
			if s.regex, err = regexp.Compile(spec.Regex); err != nil {
				return nil, fmt.Errorf("step %d: %w", i, err)
			}
		}
		steps = append(steps, s)
	}
	return steps, nil
}

func connectOnly(ctx context.Context, t Target) (Report, error) {
	conn, err := dial(ctx, t, hasty)
	if err != nil {
		return Report{}, err
	}
	reset(conn)
	_ = conn.Close()
	return Report{}, nil
}

// talk goes through the steps. Every reply may come in pieces, and what follows a match in the same piece is left for
// the next step.
func talk(ctx context.Context, t Target, steps []step) error {
	x, err := open(ctx, t)
	if err != nil {
		return err
	}
	if last := steps[len(steps)-1]; len(last.send) > 0 && !last.expects() {
		defer x.closeAfterServer() // a reset could overtake what was sent last
	} else {
		defer x.close()
	}
	r := &reply{from: x}
	for i, s := range steps {
		if err := s.run(x, r); err != nil {
			if len(steps) > 1 {
				return fmt.Errorf("step %d: %w", i, err)
			}
			return err
		}
	}
	return nil
}

func (s step) run(x *exchange, r *reply) error {
	var unsent error
	if len(s.send) > 0 {
		if _, unsent = x.Write(s.send); unsent != nil && !s.expects() {
			return fmt.Errorf("send: %w", unsent)
		}
		// A server may say what is expected and close without reading: its reply counts, whether or not it listened.
	}
	var err error
	if s.regex != nil {
		err = r.awaitRegexp(s.regex)
	}
	if len(s.expect) > 0 && err == nil {
		err = r.awaitText(s.expect)
	}
	return err
}
