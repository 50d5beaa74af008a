package checks

import (
	"errors"
	"os"
	"slices"
	"syscall" // for the numbers of system errors
)

// ErrShortage marks errors of this host that give no verdict on the server: no descriptors, no memory, no local port, no
// permission, no program to run, or a source address that this host does not have.
var ErrShortage = errors.New("local shortage")

// ErrUnresolved marks a shortage: the host name of the target has no address.
var ErrUnresolved = errors.New("name not resolved")

// errStalled marks a shortage: this process did not run for a part of the check, and its deadline passed meanwhile.
var errStalled = errors.New("weir did not run for a part of the check")

// IsShortage reports whether err is a failure of this host: ErrShortage, an error of shortageReasons, or a failure to bind
// the source address.
func IsShortage(err error) bool { return err != nil && shortageReason(err) != "" }

// ShortageReasons returns the reasons of a Skip.
func ShortageReasons() []string {
	list := []string{"source_address", "ports", "processes", "program", "other"}
	for _, r := range shortageReasons {
		if !slices.Contains(list, r.reason) {
			list = append(list, r.reason)
		}
	}
	slices.Sort(list)
	return list
}

// shortageReasons are the errors that are local, with the word for each.
var shortageReasons = []struct {
	err    error
	reason string
}{
	{errStalled, "stalled"},
	{ErrUnresolved, "resolver"},
	{syscall.EMFILE, "descriptors"},
	{syscall.ENFILE, "descriptors"},
	{syscall.ENOBUFS, "memory"},
	{syscall.ENOMEM, "memory"},
	{syscall.EPERM, "permission"},
	{syscall.EACCES, "permission"},
}

// shortageReason returns the word for a local error, or "" if err is not local.
func shortageReason(err error) string {
	for _, r := range shortageReasons {
		if errors.Is(err, r.err) {
			return r.reason
		}
	}
	var call *os.SyscallError
	bind := errors.Is(err, errSource) || errors.As(err, &call) && call.Syscall == "bind"
	marked := errors.Is(err, ErrShortage)
	switch {
	case bind && !errors.Is(err, syscall.EADDRINUSE):
		return "source_address"
	case bind, errors.Is(err, syscall.EADDRNOTAVAIL):
		return "ports"
	case marked && errors.Is(err, syscall.EAGAIN):
		return "processes"
	case marked && (errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ENOEXEC)):
		return "program"
	case marked:
		return "other"
	}
	return ""
}
