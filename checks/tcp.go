package checks

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"regexp"
	"syscall" // for ECONNRESET

	"weir/conf"
)

// TCP connects and, if there are steps, holds a dialogue.
//
// Without steps nothing is said, and the connection is reset at once: that leaves no socket waiting out its time on
// either side. Most servers take no notice. MySQL counts it against this host and in the end shuts the host out: there,
// use the MySQL monitor, or Quiet.
type TCP struct {
	Steps []conf.Step // in order; each sends first, then reads until what is expected has come
	TLS   *TLS        // nil = plain. A handshake is a check of its own: it needs no steps

	// Quiet, without steps and TLS, resets the connection before the server's program gets to see it: its kernel has
	// said that it listens and has room in its queue, which is all that connecting can tell. Nothing is logged or
	// counted there.
	Quiet bool
}

// Monitor returns the monitor. The errors are those of regular expressions and of the TLS options.
func (o TCP) Monitor() (Monitor, error) {
	steps, err := compileSteps(o.Steps)
	if err != nil {
		return nil, err
	}
	secure, err := o.TLS.config()
	if err != nil {
		return nil, err
	}
	if len(steps) == 0 && secure == nil {
		if o.Quiet {
			return func(ctx context.Context, t Target) (Report, error) { return Report{}, connectOnly(ctx, t, dialQuiet) }, nil
		}
		return func(ctx context.Context, t Target) (Report, error) { return Report{}, connectOnly(ctx, t, dialFull) }, nil
	}
	return func(ctx context.Context, t Target) (Report, error) { return Report{}, runSteps(ctx, t, steps, secure) }, nil
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

func compileSteps(specs []conf.Step) ([]step, error) {
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

func connectOnly(ctx context.Context, t Target, p dialMode) error {
	if t.SendProxy != "" && p == dialFull {
		return headerOnly(ctx, t)
	}
	conn, err := dial(ctx, t, p)
	if errors.Is(err, syscall.ECONNRESET) {
		return nil // it had been accepted: before that, a reset is a refusal
	}
	if err != nil {
		return err
	}
	resetOnClose(conn)
	_ = conn.Close()
	return nil
}

// headerOnly connects to a server that reads a PROXY header first: it gets one, and then the end of the stream.
func headerOnly(ctx context.Context, t Target) error {
	x, err := openConn(ctx, t, nil)
	if errors.Is(err, syscall.ECONNRESET) {
		return nil
	}
	if err != nil {
		return err
	}
	if c, ok := x.raw.(interface{ CloseWrite() error }); ok {
		_ = c.CloseWrite()
	}
	x.closeAfterServer() // a reset could overtake the header
	return nil
}

// runSteps goes through the steps. Every reply may come in pieces, and what follows a match in the same piece is left for
// the next step.
func runSteps(ctx context.Context, t Target, steps []step, secure *tls.Config) error {
	x, err := openConn(ctx, t, secure)
	if err != nil {
		return err
	}
	if n := len(steps); n > 0 && len(steps[n-1].send) > 0 && !steps[n-1].expects() {
		defer x.closeAfterServer() // a reset could overtake what was sent last
	} else {
		defer x.close()
	}
	r := &replyReader{from: x}
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

// runTask sends and waits. A server may say what is expected and close without having read: its reply counts, so a failed
// write is told only where no reply is expected.
func (s step) run(x *checkConn, r *replyReader) error {
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
