package l4

// Sockets that are bound to a network interface (SO_BINDTODEVICE, socket(7)): they send and receive only there.

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// bindToInterface binds a new socket to an interface; "" = none.
func bindToInterface(fd int32, name string) errno {
	if name == "" {
		return 0
	}
	return changeInterface(fd, name)
}

// changeInterface binds a socket to an interface, or to none. Another one than before needs CAP_NET_RAW.
func changeInterface(fd int32, name string) errno {
	if bound, err := unix.GetsockoptString(int(fd), unix.SOL_SOCKET, unix.SO_BINDTODEVICE); err == nil && bound == name {
		return 0
	}
	if err := unix.SetsockoptString(int(fd), unix.SOL_SOCKET, unix.SO_BINDTODEVICE, name); err != nil {
		e, _ := err.(syscall.Errno)
		return e
	}
	return 0
}

// LeaveThrough makes connections to the target leave through an interface; "" = any.
func (t *Target) LeaveThrough(name string) { t.device = name }

// bindDevice binds a new socket to the target's interface. An interface that this host lacks is a local error, not a failure
// of the server.
func (t *Target) bindDevice(fd int32) errno {
	if e := bindToInterface(fd, t.device); e != 0 {
		return syscall.EADDRNOTAVAIL
	}
	return 0
}
