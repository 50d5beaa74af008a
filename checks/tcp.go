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

// TCP connects and, if there are steps, sends data and checks the replies.
//
// Without steps nothing is sent, and the connection is reset at once, so that no socket remains in TIME_WAIT on either
// side. Most servers ignore this. MySQL counts it against this host and eventually blocks the host: use the MySQL
// monitor there, or Quiet.
type TCP struct {
	Steps []conf.Step // in order; each sends first, then reads until the expected bytes have arrived
	TLS   *TLS        // nil = plain. With TLS the handshake is checked even without steps

	// Quiet, without steps and TLS, resets the connection before the server's program sees it. The server's kernel has
	// then confirmed that it listens and has room in its queue, which is all that a connect can show. Nothing is logged or
	// counted on the server.
	Quiet bool
}

// Monitor returns the monitor, or an error if a regular expression or the TLS options are invalid.
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
	return NewRedactor(sentSecrets(o.Steps), sentTexts(o.Steps)...).monitor(func(ctx context.Context, t Target) (Report, error) {
		return Report{}, runSteps(ctx, t, steps, secure)
	}), nil
}

// step is a compiled step.
type step struct {
	send   []byte
	expect []byte
	regex  *regexp.Regexp
}

func (s step) expects() bool { return len(s.expect) > 0 || s.regex != nil }

// matches reports whether a whole reply is as expected.
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
		return nil // the connection was accepted; an earlier reset would be ECONNREFUSED
	}
	if err != nil {
		return err
	}
	resetOnClose(conn)
	_ = conn.Close()
	return nil
}

// headerOnly connects to a server that expects a PROXY header, sends the header, and ends the stream.
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

// runSteps runs the steps. A reply may arrive in pieces. Bytes after a match remain for the next step.
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
			if refusesForRoom(r.received()) {
				err = &FullError{err}
			}
			if len(steps) > 1 {
				return fmt.Errorf("step %d: %w", i, err)
			}
			return err
		}
	}
	return nil
}

// run sends and waits for the reply. A server may reply and close without having read the request; its reply counts. A
// failed write is therefore reported only if no reply is expected.
func (s step) run(x *checkConn, r *replyReader) error {
	if len(s.send) > 0 {
		if _, err := x.Write(s.send); err != nil && !s.expects() {
			return fmt.Errorf("send: %w", err)
		}
	}
	if s.regex != nil {
		if err := r.awaitRegexp(s.regex, maxSkipped); err != nil {
			return err
		}
	}
	if len(s.expect) > 0 {
		return r.awaitText(s.expect, maxSkipped)
	}
	return nil
}
