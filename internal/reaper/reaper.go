package reaper

import (
	"os"
	"os/exec"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// children are the children of this process. They are state of the process as a whole, like its descriptors.
var children struct {
	mu    sync.Mutex                               // held while a program is started or an orphan is reaped
	own   map[int]int                              // started and not yet waited for; more than 1 if an ID is in use again
	ended func(pid int, status syscall.WaitStatus) // nil = orphans are not reaped
}

// Start starts cmd, which must be waited for with Wait. No signal is blocked in it. It returns the errors of exec.Cmd.Start unchanged.
func Start(cmd *exec.Cmd) error { return StartHolding(cmd) }

// StartHolding is Start with blocked signals: those that arrive wait until the program unblocks them, as signal.Notify does, instead
// of ending a program that does not handle them yet. A program in Go unblocks all but SIGUSR1, SIGUSR2 and a few others at its start.
func StartHolding(cmd *exec.Cmd, signals ...syscall.Signal) error {
	restore := blockOnly(signals)
	defer restore()
	return start(cmd)
}

func start(cmd *exec.Cmd) error {
	children.mu.Lock()
	defer children.mu.Unlock()
	if err := cmd.Start(); err != nil {
		return err
	}
	if children.own == nil {
		children.own = map[int]int{}
	}
	children.own[cmd.Process.Pid]++
	return nil
}

// Wait waits for cmd. It returns the errors of exec.Cmd.Wait unchanged.
func Wait(cmd *exec.Cmd) error {
	err := cmd.Wait()
	pid := cmd.Process.Pid
	children.mu.Lock()
	if children.own[pid]--; children.own[pid] == 0 {
		delete(children.own, pid)
	}
	ended := children.ended
	children.mu.Unlock()
	if ended != nil {
		if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok {
			ended(pid, status)
		}
	}
	Reap() // it stops at a program that its owner has not waited for
	return err
}

// Watch enables Reap. From now on ended is called once for each child that has ended, own or orphan, by any goroutine.
func Watch(ended func(pid int, status syscall.WaitStatus)) {
	children.mu.Lock()
	defer children.mu.Unlock()
	children.ended = ended
}

// Reap waits for the orphans that have ended. Call it after SIGCHLD.
func Reap() {
	for {
		pid, status, ended := reapOne()
		if pid == 0 {
			return
		}
		ended(pid, status)
	}
}

// reapOne waits for one orphan that has ended and returns its process ID, or 0 if there is none.
func reapOne() (pid int, status syscall.WaitStatus, ended func(int, syscall.WaitStatus)) {
	children.mu.Lock()
	defer children.mu.Unlock()
	if children.ended == nil {
		return 0, 0, nil
	}
	pid = int(peek(waitAll, 0, syscall.WNOHANG).pid)
	if pid == 0 || children.own[pid] > 0 {
		return 0, 0, nil
	}
	if got, err := syscall.Wait4(pid, &status, syscall.WNOHANG, nil); err != nil || got != pid {
		return 0, 0, nil
	}
	return pid, status, children.ended
}

// childInfo is siginfo_t as waitid fills it on 64-bit Linux.
type childInfo struct {
	_      [8]byte
	code   int32 // CLD_EXITED or another
	_      [4]byte
	pid    int32
	_      [4]byte
	status int32 // exit code or signal
	_      [100]byte
}

// Constants of wait(2) and sigaction(2) that package syscall lacks.
const (
	waitAll   = 0 // P_ALL
	waitPID   = 1 // P_PID
	cldExited = 1
)

// peek returns a child that has ended and leaves it to be waited for. The pid is 0 if there is none.
func peek(kind, pid, options int) childInfo {
	for {
		var info childInfo
		_, _, e := syscall.Syscall6(syscall.SYS_WAITID, uintptr(kind), uintptr(pid), uintptr(unsafe.Pointer(&info)),
			uintptr(syscall.WEXITED|syscall.WNOWAIT|options), 0, 0)
		switch e {
		case syscall.EINTR:
		case 0:
			return info
		default:
			return childInfo{}
		}
	}
}

// Await returns when a child has ended, and reports whether it has exited with a code, and which. The child is left to be
// waited for.
func Await(pid int) (code int, exited bool) {
	info := peek(waitPID, pid, 0)
	return int(info.status), info.code == cldExited
}

// Adopts reports whether the kernel gives orphans to this process.
func Adopts() bool {
	var set int32
	err := unix.Prctl(unix.PR_GET_CHILD_SUBREAPER, uintptr(unsafe.Pointer(&set)), 0, 0, 0)
	return os.Getpid() == 1 || err == nil && set != 0
}

// Adopt makes the kernel give the orphans among the descendants of this process to it.
func Adopt() error {
	return os.NewSyscallError("prctl", unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
}
