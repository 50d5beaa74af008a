package reaper

import (
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// blockOnly blocks signals, and no others, on the thread of the caller, whose children inherit them as blocked. It returns the function
// that restores the thread, which the same goroutine must call. Other threads receive the signals of this process meanwhile.
func blockOnly(signals []syscall.Signal) (restore func()) {
	var mask, before unix.Sigset_t
	const bits = 8 * uint(unsafe.Sizeof(mask.Val[0]))
	for _, s := range signals {
		mask.Val[uint(s-1)/bits] |= 1 << (uint(s-1) % bits)
	}
	runtime.LockOSThread()
	unix.PthreadSigmask(unix.SIG_SETMASK, &mask, &before) // it fails only for invalid arguments
	return func() {
		unix.PthreadSigmask(unix.SIG_SETMASK, &before, nil)
		runtime.UnlockOSThread()
	}
}
