package checks

import (
	"bytes"
	"context"
	"crypto/tls"
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
	TLS   *TLS        // nil = plain. A handshake is a check of its own: it needs no steps
}

// Monitor returns the monitor. The errors are those of regular expressions and of the TLS options.
func (o TCP) Monitor() (Monitor, error) {
	steps, err := compile(o.Steps)
	if err != nil {
		return nil, err
	}
	secure, err := o.TLS.config()
	if err != nil {
		return nil, err
	}
	if len(steps) == 0 && secure == nil {
		return connectOnly, nil
	}
	return func(ctx context.Context, t Target) (Report, error) { return Report{}, talk(ctx, t, steps, secure) }, nil
}

// step is one step of a dialogue, ready to be used.
type step struct {
	send   []byte
	expect []byte
	regex  *regexp.Regexp
}

func (s step) expects() bool { return len(s.expect) > 0 || s.regex != nil }

// matches reports whether a whole reply is what is expected.
func (s step) matches(reply []byte) bool {
	return bytes.Contains(reply, s.expect) && (s.regex == nil || s.regex.Match(reply))
}

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
func talk(ctx context.Context, t Target, steps []step, secure *tls.Config) error {
	x, err := open(ctx, t, secure)
	if err != nil {
		return err
	}
	if n := len(steps); n > 0 && len(steps[n-1].send) > 0 && !steps[n-1].expects() {
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

// run sends and waits. A server may say what is expected and close without having read: its reply counts, so a failed
// write is told only where no reply is expected.
func (s step) run(x *exchange, r *reply) error {
	if len(s.send) > 0 {
		if _, err := x.Write(s.send); err != nil && !s.expects() {
			return fmt.Errorf("send: %w", err)
		}
	}
	if s.regex != nil {
		if err := r.awaitRegexp(s.regex); err != nil {
			return err
		}
	}
	if len(s.expect) > 0 {
		return r.awaitText(s.expect)
	}
	return nil
}
