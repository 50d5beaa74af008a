package checks

import (
	"errors"
	"os"
	"syscall" // for the numbers of system errors
)

// ErrShortage marks errors of this host that give no verdict on the server: no descriptors, no memory, no local port,
// or a source address that this host does not have.
var ErrShortage = errors.New("local shortage")

// IsShortage reports whether err is a failure of this host: ErrShortage, EMFILE, ENFILE, ENOBUFS, ENOMEM,
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
