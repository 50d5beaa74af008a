package promotion

// What a host or a process lacks for promotion.

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// The first kernel with tcx links.
const firstMajor, firstMinor = 6, 6

// neededCapabilities are those that load and attach the program.
var neededCapabilities = []struct {
	name string
	bit  uint
}{{"CAP_BPF", unix.CAP_BPF}, {"CAP_NET_ADMIN", unix.CAP_NET_ADMIN}, {"CAP_PERFMON", unix.CAP_PERFMON}}

// missing returns what is missing, after the kernel has refused to load or to attach the program.
func missing(err error) error {
	if old := oldKernel(kernelRelease()); old != nil {
		return old
	}
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		if lacking := lackingCapabilities(effectiveCapabilities()); lacking != nil {
			return lacking
		}
		return fmt.Errorf("the system call bpf is not permitted, by a filter of the service manager or a security module: %w", err)
	}
	if errors.Is(err, ebpf.ErrNotSupported) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("the kernel is built without BPF, BTF or tcx (CONFIG_BPF_SYSCALL, CONFIG_DEBUG_INFO_BTF, CONFIG_NET_XGRESS): %w", err)
	}
	return err
}

// oldKernel returns an error if a kernel of that release lacks tcx.
func oldKernel(release string) error {
	var major, minor int
	if n, _ := fmt.Sscanf(release, "%d.%d", &major, &minor); n < 2 || major > firstMajor || major == firstMajor && minor >= firstMinor {
		return nil
	}
	return fmt.Errorf("want Linux %d.%d or later for tcx, got %s", firstMajor, firstMinor, release)
}

// HostLacks returns an error if the kernel of this host is too old to promote sessions.
func HostLacks() error { return oldKernel(kernelRelease()) }

func kernelRelease() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}

// lackingCapabilities returns an error that names those that a set lacks.
func lackingCapabilities(set uint64) error {
	var names []string
	for _, c := range neededCapabilities {
		if set&(1<<c.bit) == 0 {
			names = append(names, c.name)
		}
	}
	if names == nil {
		return nil
	}
	return errors.New("missing capability " + strings.Join(names, ", "))
}

// effectiveCapabilities returns the effective set of the calling thread, one bit per capability.
func effectiveCapabilities() uint64 {
	var set [2]unix.CapUserData
	if unix.Capget(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &set[0]) != nil {
		return 0
	}
	return uint64(set[0].Effective) | uint64(set[1].Effective)<<32
}
