package privileges

// What a process inherits from the one that has started it: descriptors, and the means to gain privileges.

import (
	"os"
	"slices"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// CloseInherited closes the descriptors from 3 on that this process has inherited, except those in keep. Descriptors that
// it has opened itself have the close-on-exec flag, which an inherited one cannot have.
func CloseInherited(keep ...int) {
	dir, err := os.Open("/proc/self/fd")
	if err != nil {
		return
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	for _, name := range names {
		fd, err := strconv.Atoi(name)
		if err != nil || fd < 3 || slices.Contains(keep, fd) {
			continue
		}
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 {
			unix.Close(fd)
		}
	}
}

// NoNewPrivileges keeps the process and its children from gaining privileges by set-user-ID programs (no_new_privs). A
// build with cgo cannot set it on all threads; then nothing changes.
func NoNewPrivileges() error {
	if err := allThreads(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1); err != ErrCgo {
		return os.NewSyscallError("prctl", err)
	}
	return nil
}

// rootCapabilities are those that weir needs as root: to bind any address, to use client addresses, to read and write
// files of others, to give them away, to kill programs of checks, and to change its user after an upgrade.
const rootCapabilities = 1<<unix.CAP_NET_BIND_SERVICE | 1<<unix.CAP_NET_ADMIN | 1<<unix.CAP_NET_RAW |
	1<<unix.CAP_CHOWN | 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_DAC_READ_SEARCH | 1<<unix.CAP_FOWNER | 1<<unix.CAP_FSETID |
	1<<unix.CAP_KILL | 1<<unix.CAP_SETUID | 1<<unix.CAP_SETGID | 1<<unix.CAP_SETPCAP | 1<<unix.CAP_SYS_RESOURCE | 1<<unix.CAP_SYS_NICE

// loadCapabilities are those that load programs into the kernel. They are needed at the start only.
const loadCapabilities = 1<<unix.CAP_BPF | 1<<unix.CAP_PERFMON

// Limit drops the capabilities that a process without runtime.user does not need, for itself and its children. A process that is
// not root keeps those that it was given, except those that load programs. A build with cgo keeps them.
func Limit() error {
	permitted, err := permittedCapabilities()
	if err != nil {
		return err
	}
	keep := uint64(rootCapabilities)
	if os.Geteuid() != 0 {
		keep = ^uint64(loadCapabilities)
	}
	if err := limitBoundingSet(rootCapabilities); err != nil || permitted&^keep == 0 {
		return ignoreCgo(err)
	}
	return ignoreCgo(setCapabilities(permitted & keep))
}

func ignoreCgo(err error) error {
	if err == ErrCgo {
		return nil
	}
	return err
}

// limitBoundingSet removes all capabilities but keep from the bounding set of all threads. Without CAP_SETPCAP the set
// stays: the service manager has limited it, or nothing can be gained anyway.
func limitBoundingSet(keep uint64) error {
	for c := uintptr(0); c < 64; c++ {
		set, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, c, 0, 0, 0)
		if err != nil { // the kernel has no more
			return nil
		}
		if set == 0 || keep&(1<<c) != 0 {
			continue
		}
		if err := allThreads(unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, c); err == syscall.EPERM {
			return nil
		} else if err != nil {
			return err
		}
	}
	return nil
}
