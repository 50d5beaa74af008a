package weirtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
)

// InjectErrors makes a system call of a running weir fail 50 times on each thread, until stop is called. Both functions
// return how often it has failed.
func (w *Weir) InjectErrors(call, errno string) (failed, stop func() int) {
	w.T.Helper()
	trace := filepath.Join(w.T.TempDir(), "trace")
	cmd := exec.Command("strace", "-f", "-q", "-p", fmt.Sprint(w.Process()), "-o", trace,
		"-e", "trace="+call, "-e", "inject="+call+":error="+errno+":when=1..50")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(w.T, cmd.Start())
	nettest.Wait(w.T, patience, "strace to attach", func() bool { traced, others := w.tracedThreads(); return traced && !others })
	failed = func() int {
		text, err := os.ReadFile(trace)
		require.NoError(w.T, err)
		return strings.Count(string(text), "(INJECTED)")
	}
	return failed, func() int {
		cmd.Process.Signal(syscall.SIGINT)
		cmd.Wait()
		nettest.Wait(w.T, patience, "strace to let go", func() bool { traced, _ := w.tracedThreads(); return !traced })
		return failed()
	}
}

// tracedThreads reports whether strace is attached to threads of weir, and whether there are others. It attaches to one after
// the other.
func (w *Weir) tracedThreads() (traced, others bool) {
	for _, pid := range w.ThreadStatus("TracerPid") {
		if pid == "0" {
			others = true
		} else {
			traced = true
		}
	}
	return traced, others
}

// WaitNoSessions waits until the API shows no session.
func (w *Weir) WaitNoSessions(a API) {
	w.T.Helper()
	nettest.Wait(w.T, patience, "no sessions", func() bool { return a.Get("sessions") == 0.0 })
}
