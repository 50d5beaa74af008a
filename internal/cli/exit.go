package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

// Exit codes, the same for every command.
const (
	ExitOK          = 0
	ExitUsage       = 1 // invalid configuration or usage, or a refused request
	ExitUnreachable = 2 // weir could not start, or a client command could not reach it
	ExitCut         = 3 // sessions were cut at the drain deadline or by a second signal
)

// ExitError ends a command with an exit code. Err is nil if the command has already printed the cause.
type ExitError struct {
	Code int
	Err  error
}

func (e ExitError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("exit code %d", e.Code)
	}
	return e.Err.Error()
}

func (e ExitError) Unwrap() error { return e.Err }

// Exit returns the error that ends a command with code, or nil for ExitOK.
func Exit(code int) error {
	if code == ExitOK {
		return nil
	}
	return ExitError{Code: code}
}

// ExitCode prints the error that a command returned, unless the command has printed it, and returns the exit code.
func ExitCode(err error, stderr io.Writer) int {
	if err == nil {
		return ExitOK
	}
	var exit ExitError
	if !errors.As(err, &exit) {
		exit = ExitError{ExitUsage, err}
	}
	if exit.Err != nil {
		lines := strings.Split(exit.Err.Error(), "\n") // parts may come from the other end of a connection
		for i := range lines {
			lines[i] = plain(lines[i])
		}
		fmt.Fprintln(stderr, "weir:", strings.Join(lines, "\n"))
	}
	return exit.Code
}
