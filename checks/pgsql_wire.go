package checks

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// pgsqlWire is the connection of a check as pgconn sees it. It limits what is read, keeps the cause of a failure, which
// pgconn wraps in texts with addresses, and leaves deadlines and the end of the connection to the check.
type pgsqlWire struct {
	*checkConn

	login *pgsqlLoginReply

	mu    sync.Mutex // pgconn may read in another goroutine while it writes
	total int        // bytes read
	first []byte     // the first bytes read since the last write, for error messages
	err   error      // of the first read or write that failed
	ended bool
}

// maxPgSQL limits the bytes that a server sends during one check. A login takes 600 bytes. pgconn keeps the parameters that
// the server reports.
const maxPgSQL = 1 << 20

func (w *pgsqlWire) Read(p []byte) (int, error) {
	w.mu.Lock()
	room := maxPgSQL - w.total
	ended := w.ended
	w.mu.Unlock()
	switch {
	case ended:
		return 0, net.ErrClosed
	case room == 0:
		return 0, w.fail(tooLargeError(maxPgSQL))
	}
	n, err := w.checkConn.Read(p[:min(len(p), room)])
	w.mu.Lock()
	w.total += n
	w.first = append(w.first, p[:min(n, maxQuote+1-len(w.first))]...)
	w.mu.Unlock()
	if badReply := w.login.add(p[:n]); badReply != nil {
		return 0, w.fail(badReply)
	}
	if err != nil {
		return n, w.fail(err)
	}
	return n, nil
}

func (w *pgsqlWire) Write(p []byte) (int, error) {
	w.mu.Lock()
	if w.err == nil && !bytes.Equal(p, pgTerminate) { // which pgconn sends after an error
		w.first = w.first[:0]
	}
	ended := w.ended
	w.mu.Unlock()
	if ended {
		return 0, net.ErrClosed
	}
	n, err := w.checkConn.Write(p)
	if err != nil {
		err = w.fail(err)
	}
	return n, err
}

// pgTerminate is the message that ends a session.
var pgTerminate = []byte("X\x00\x00\x00\x04")

// fail records the first error and returns err.
func (w *pgsqlWire) fail(err error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
	}
	return err
}

// end makes reads and writes fail at once, also one that waits.
func (w *pgsqlWire) end() {
	w.mu.Lock()
	w.ended = true
	w.mu.Unlock()
	_ = w.checkConn.raw.SetDeadline(time.Unix(1, 0))
}

// Close does nothing: the check closes the connection in the way that the server expects.
func (w *pgsqlWire) Close() error { return nil }

// SetDeadline does nothing, nor do the others: the connection follows the context of the check.
func (w *pgsqlWire) SetDeadline(time.Time) error { return nil }

func (w *pgsqlWire) SetReadDeadline(time.Time) error { return nil }

func (w *pgsqlWire) SetWriteDeadline(time.Time) error { return nil }

// cause returns the cause of an error of pgconn: an error of the server, or of the connection, or a reply that is not as
// expected.
func (w *pgsqlWire) cause(err error, expected string) error {
	if serverErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		return &pgsqlError{serverErr.Code, serverErr.Message}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	var unsafe *pgsqlUnsafeError
	var long *pgproto3.ExceededMaxBodyLenErr
	switch {
	case errors.As(w.err, &unsafe):
		return unsafe
	case errors.Is(w.err, io.EOF):
		return mismatch(errClosed, expected, w.first)
	case w.err != nil:
		return mismatch(w.err, expected, w.first)
	case contextError(w.ctx, err) != nil:
		return mismatch(contextError(w.ctx, err), expected, w.first)
	case errors.As(err, &long):
		return mismatch(tooLargeError(maxReply), expected, w.first)
	}
	for errors.Unwrap(err) != nil || joined(err) != nil {
		if list := joined(err); list != nil {
			err = list[0]
			continue
		}
		err = errors.Unwrap(err)
	}
	return mismatch(errors.New(clipText(err.Error())), expected, w.first)
}

// joined returns the errors of errors.Join.
func joined(err error) []error {
	if list, ok := err.(interface{ Unwrap() []error }); ok {
		return list.Unwrap()
	}
	return nil
}

// pgsqlError is an error of a server.
type pgsqlError struct {
	code string // SQLSTATE
	text string
}

func (e *pgsqlError) Error() string {
	return fmt.Sprintf("server error %s: %s", clipText(e.code), quote([]byte(e.text)))
}

// tooManyConnections is the SQLSTATE of a server, a database or a user without room for another connection.
const tooManyConnections = "53300"

// pgsqlOutcome returns err, as a FullError if the server has no room for another connection.
func pgsqlOutcome(err error) error {
	if serverErr, ok := errors.AsType[*pgsqlError](err); ok && serverErr.code == tooManyConnections {
		return &FullError{err}
	}
	return err
}
