package l4

// Giving up root's rights once everything is bound. Rights belong to threads in Linux, and the loops are on threads of
// their own, so every call here is made on all of them.

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Identity is who a process runs as.
type Identity struct {
	UID, GID int
	Groups   []int // supplementary
}

// ErrNotRoot is returned to processes that may not change who they are.
var ErrNotRoot = errors.New("only root may change to another user")

// ErrThreads is returned in builds with cgo, whose threads Go does not know.
var ErrThreads = errors.New("a build with cgo cannot change its user: build with CGO_ENABLED=0")

// Become makes the whole process run as somebody, with none of root's rights but those to bind to ports below 1024 and,
// if transparent is set, to dial from addresses that are not this host's and to route their replies here (CAP_NET_RAW,
// CAP_NET_ADMIN), as far as it has them. Programs that it starts get none. There is no way back. A process that runs as
// that user already keeps those rights that it has.
func Become(who Identity, transparent bool) error {
	keep := uint64(1) << unix.CAP_NET_BIND_SERVICE
	if transparent {
		keep |= 1<<unix.CAP_NET_RAW | 1<<unix.CAP_NET_ADMIN
	}
	if os.Getuid() != who.UID || os.Geteuid() != who.UID {
		if os.Geteuid() != 0 {
			return ErrNotRoot
		}
		if err := allThreads(unix.SYS_PRCTL, unix.PR_SET_KEEPCAPS, 1); err != nil {
			return err
		}
		if err := syscall.Setgroups(who.Groups); err != nil {
			return fmt.Errorf("setgroups: %w", err)
		}
		if err := syscall.Setresgid(who.GID, who.GID, who.GID); err != nil {
			return fmt.Errorf("setresgid: %w", err)
		}
		if err := syscall.Setresuid(who.UID, who.UID, who.UID); err != nil {
			return fmt.Errorf("setresuid: %w", err)
		}
	}
	permitted, err := capabilities()
	if err != nil {
		return err
	}
	return setCapabilities(permitted & keep)
}

// capSet is struct __user_cap_data_struct of linux/capability.h, version 3: low words, then high words.
type capSet [2]unix.CapUserData

func capHeader() *unix.CapUserHeader {
	return &unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
}

// capabilities is what the calling thread may have, a bit for each.
func capabilities() (uint64, error) {
	var set capSet
	if err := unix.Capget(capHeader(), &set[0]); err != nil {
		return 0, fmt.Errorf("capget: %w", err)
	}
	return uint64(set[0].Permitted) | uint64(set[1].Permitted)<<32, nil
}

// setCapabilities gives all threads these and no others; none is passed on to programs.
func setCapabilities(keep uint64) error {
	set := &capSet{
		{Effective: uint32(keep), Permitted: uint32(keep)},
		{Effective: uint32(keep >> 32), Permitted: uint32(keep >> 32)},
	}
	header := capHeader()
	defer runtime.KeepAlive(header)
	defer runtime.KeepAlive(set)
	return allThreads(unix.SYS_CAPSET, uintptr(unsafe.Pointer(header)), uintptr(unsafe.Pointer(set)))
}

func allThreads(call, a, b uintptr) error {
	switch _, _, e := syscall.AllThreadsSyscall(call, a, b, 0); e {
	case 0:
		return nil
	case syscall.ENOTSUP:
		return ErrThreads
	default:
		return e
	}
}

// PassRights has a program that is about to be started keep the rights that Become has left: it is weir's own successor.
func PassRights(cmd *exec.Cmd) {
	held, err := capabilities()
	if err != nil || os.Geteuid() == 0 {
		return // root's successor is root
	}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	for c := uintptr(0); c < 64; c++ {
		if held&(1<<c) != 0 {
			cmd.SysProcAttr.AmbientCaps = append(cmd.SysProcAttr.AmbientCaps, c)
		}
	}
}

// GiveTo makes a listener that is not started another user's: its sockets share their port with those that this user
// binds later, and the file of a unix socket is the user's.
func (ln *Listener) GiveTo(who Identity) error {
	for _, fd := range ln.fds {
		if err := unix.Fchown(int(fd), who.UID, who.GID); err != nil {
			return fmt.Errorf("listen on %s: %w", ln.at, err)
		}
	}
	if ln.file != nil {
		if err := os.Lchown(ln.at.Path, who.UID, who.GID); err != nil {
			return fmt.Errorf("listen on %s: %w", ln.at, err)
		}
		ln.file, _ = os.Lstat(ln.at.Path)
	}
	return nil
}
