package promotion

// The Kernel of an upgrade: program, tables and attachments travel as descriptors. The old process has removed its sessions
// before.

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// Names of descriptors. That of the program continues with its version, that of an attachment with the interface.
const (
	keysName     = "keys"
	sessionsName = "sessions"
	programName  = "program "
	linkName     = "link "
)

// Descriptors returns the descriptors that Inherit needs, by name. They stay the Kernel's.
func (k *Kernel) Descriptors() map[string]int32 {
	k.attachMu.Lock()
	defer k.attachMu.Unlock()
	if k.program == nil {
		return nil
	}
	all := map[string]int32{keysName: int32(k.keys.FD()), sessionsName: int32(k.table.FD()), programName + Version(): int32(k.program.FD())}
	for name, a := range k.attached {
		if l, ok := a.link.(interface{ FD() int }); ok {
			all[linkName+name] = int32(l.FD())
		}
	}
	return all
}

// ErrVersion is returned if the other process has another program.
var ErrVersion = errors.New("the old process has another version of the program, and this one may not load its own")

// Inherit continues with the program of another process. The descriptors, by name, become the Kernel's, also after an error. Reset must
// follow once the other process has no sessions in it any more, before any is added.
func Inherit(descriptors map[string]int32) (*Kernel, error) {
	take := func(name string) int {
		fd, ok := descriptors[name]
		if !ok {
			return -1
		}
		delete(descriptors, name)
		return int(fd)
	}
	defer func() {
		for _, fd := range descriptors {
			_ = unix.Close(int(fd))
		}
	}()
	if _, same := descriptors[programName+Version()]; !same {
		return nil, ErrVersion
	}
	keys, err := ebpf.NewMapFromFD(take(keysName))
	if err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	table, err := ebpf.NewMapFromFD(take(sessionsName))
	if err != nil {
		keys.Close()
		return nil, fmt.Errorf("sessions: %w", err)
	}
	program, err := ebpf.NewProgramFromFD(take(programName + Version()))
	if err != nil {
		keys.Close()
		table.Close()
		return nil, fmt.Errorf("program: %w", err)
	}
	k, err := newKernel(keys, table, program)
	if err != nil {
		return nil, err
	}
	for name := range descriptors {
		if at, ok := strings.CutPrefix(name, linkName); ok {
			k.inheritLink(at, take(name))
		}
	}
	return k, nil
}

// inheritLink takes over an attachment. One of an interface that is gone is closed.
func (k *Kernel) inheritLink(name string, fd int) {
	l, err := link.NewFromFD(fd)
	if err != nil {
		return
	}
	info, err := l.Info()
	if err == nil && info.TCX() != nil && info.TCX().Ifindex != 0 {
		k.attached[name] = attachment{int(info.TCX().Ifindex), l}
		return
	}
	l.Close()
}

// Reset removes all sessions, those that another process has left included.
func (k *Kernel) Reset() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return
	}
	for {
		var at key
		if k.keys.NextKey(nil, &at) != nil {
			break
		}
		if k.keys.Delete(&at) != nil {
			break
		}
	}
	clear(k.records)
	k.keysOf, k.legsOf, k.freed = nil, nil, nil
}
