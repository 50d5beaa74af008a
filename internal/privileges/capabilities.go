package privileges

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ErrNotRoot is returned when a process that is not root is to change its user.
var ErrNotRoot = errors.New("only root may change to another user")

// ErrCgo is returned in builds with cgo: Go cannot make a system call on threads that it did not create.
var ErrCgo = errors.New("a build with cgo cannot change its user: build with CGO_ENABLED=0")

// Needs are the rights that a process keeps, besides that to bind any port.
type Needs struct {
	ClientSource bool // to bind to the addresses of clients and to route their replies
	Addresses    bool // to change the addresses of interfaces
	Promotion    bool // to attach a program to interfaces
}

// Drop switches the process to user u for good and drops all capabilities except CAP_NET_BIND_SERVICE, CAP_NET_RAW if clients'
// addresses are used, and CAP_NET_ADMIN for each of the needs.
// Capabilities that the process does not have are not gained, not even by its children. These inherit none; see Inherit.
// A process that already runs as u must not have groups that u lacks, unless it can drop them.
func Drop(u User, needs Needs) error {
	keep := uint64(1) << unix.CAP_NET_BIND_SERVICE
	if needs.ClientSource {
		keep |= 1 << unix.CAP_NET_RAW
	}
	if needs.ClientSource || needs.Addresses || needs.Promotion {
		keep |= 1 << unix.CAP_NET_ADMIN
	}
	// The last system call that needs CAP_SETPCAP comes first.
	if err := limitBoundingSet(keep); err != nil {
		return err
	}
	if excess := identityExcess(u); excess != "" {
		if os.Geteuid() != 0 {
			if os.Getuid() != u.UID {
				return ErrNotRoot
			}
			return fmt.Errorf("the process also has %s, which only root may drop", excess)
		}
		if err := allThreads(unix.SYS_PRCTL, unix.PR_SET_KEEPCAPS, 1); err != nil {
			return err
		}
		if err := syscall.Setgroups(u.Groups); err != nil {
			return fmt.Errorf("setgroups: %w", err)
		}
		if err := syscall.Setresgid(u.GID, u.GID, u.GID); err != nil {
			return fmt.Errorf("setresgid: %w", err)
		}
		if err := syscall.Setresuid(u.UID, u.UID, u.UID); err != nil {
			return fmt.Errorf("setresuid: %w", err)
		}
	}
	permitted, err := permittedCapabilities()
	if err != nil {
		return err
	}
	return setCapabilities(permitted & keep)
}

// identityExcess returns a user or group that the process has and u does not, or "". All of real, effective and saved IDs
// count.
func identityExcess(u User) string {
	r, e, s := unix.Getresuid()
	for _, id := range []int{r, e, s} {
		if id != u.UID {
			return fmt.Sprintf("user %d", id)
		}
	}
	r, e, s = unix.Getresgid()
	for _, id := range []int{r, e, s} {
		if id != u.GID {
			return fmt.Sprintf("group %d", id)
		}
	}
	groups, _ := syscall.Getgroups()
	for _, id := range groups {
		if id != u.GID && !slices.Contains(u.Groups, id) {
			return fmt.Sprintf("the supplementary group %d", id)
		}
	}
	return ""
}

// capSet is struct __user_cap_data_struct of linux/capability.h, version 3: low words, then high words.
type capSet [2]unix.CapUserData

func capHeader() *unix.CapUserHeader {
	return &unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
}

// permittedCapabilities returns the permitted set of the calling thread, one bit per capability.
func permittedCapabilities() (uint64, error) {
	var set capSet
	if err := unix.Capget(capHeader(), &set[0]); err != nil {
		return 0, fmt.Errorf("capget: %w", err)
	}
	return uint64(set[0].Permitted) | uint64(set[1].Permitted)<<32, nil
}

// setCapabilities sets the effective and permitted sets of all threads to keep and clears the inheritable set.
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

// allThreads makes a system call on every thread: Linux keeps credentials per thread.
func allThreads(call, a, b uintptr) error {
	switch _, _, e := syscall.AllThreadsSyscall(call, a, b, 0); e {
	case 0:
		return nil
	case syscall.ENOTSUP:
		return ErrCgo
	default:
		return e
	}
}

// Inherit makes cmd, which is not started yet, inherit the permitted capabilities of this process as ambient ones. The
// new process of an upgrade needs them. Root passes its capabilities on anyway.
func Inherit(cmd *exec.Cmd) {
	permitted, err := permittedCapabilities()
	if err != nil || os.Geteuid() == 0 {
		return
	}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	for c := uintptr(0); c < 64; c++ {
		if permitted&(1<<c) != 0 {
			cmd.SysProcAttr.AmbientCaps = append(cmd.SysProcAttr.AmbientCaps, c)
		}
	}
}
