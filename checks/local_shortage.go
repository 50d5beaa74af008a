package checks

import (
	"errors"
	"os"
	"syscall" // for the numbers of system errors
)

// ErrShortage marks errors that say something about this host and nothing about the server: no descriptors, no memory,
// no local port, a source address that is not here. They make no verdict.
var ErrShortage = errors.New("local shortage")

// IsShortage reports whether an error is one of this host's own: ErrShortage, EMFILE, ENFILE, ENOBUFS, ENOMEM,
// EADDRNOTAVAIL, or a failure to bind the source address.
func IsShortage(err error) bool {
	for _, local := range []error{
		ErrShortage, syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EADDRNOTAVAIL,
	} {
		if errors.Is(err, local) {
			return true
		}
	}
	var call *os.SyscallError
	return errors.As(err, &call) && call.Syscall == "bind"
}
