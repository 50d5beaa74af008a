package reaper

import (
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"golang.org/x/sys/unix"
)

// Programs begin with the signals blocked that are held for them, and with no others: neither those that are held for other
// programs, nor those that this process was started with.
func TestProgramsBeginWithBlockedSignalsThatAreHeld(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	restore := blockOnly([]syscall.Signal{syscall.SIGUSR1})
	defer restore()
	blocked := func(start func(*exec.Cmd) error) string {
		var out strings.Builder
		cmd := exec.Command("grep", "SigBlk", "/proc/self/status")
		cmd.Stdout = &out
		require.NoError(t, start(cmd))
		require.NoError(t, Wait(cmd))
		return strings.TrimSpace(out.String())
	}
	require.Equal(t, "SigBlk:\t0000000000000000", blocked(Start))
	require.Equal(t, "SigBlk:\t0000000000000001", blocked(func(cmd *exec.Cmd) error { return StartHolding(cmd, syscall.SIGHUP) }))
	var mask unix.Sigset_t
	require.NoError(t, unix.PthreadSigmask(unix.SIG_SETMASK, nil, &mask))
	require.EqualValues(t, 1<<(syscall.SIGUSR1-1), mask.Val[0], "this thread has its own again")
}
