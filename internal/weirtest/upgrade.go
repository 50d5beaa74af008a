package weirtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
)

// CopyProgram copies the binary under test to a path of its own, where it can be replaced.
func CopyProgram(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "weir")
	ReplaceProgram(t, path, Binary)
	return path
}

// ReplaceProgram replaces a program as package managers do: the new file is renamed to the path. The file is not
// written here: a process started meanwhile would hold it open for writing, and it could not be run.
func ReplaceProgram(t *testing.T, path, from string) {
	t.Helper()
	if os.Link(from, path+".new") != nil { // another file system
		out, err := exec.Command("cp", from, path+".new").CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	require.NoError(t, os.Rename(path+".new", path))
}

// Upgrade upgrades weir to the program on disk and waits until the old process has exited. It returns the time from the
// outcome to the exit.
func (w *Weir) Upgrade() time.Duration {
	w.T.Helper()
	r := w.SignalUpgrade("upgrade")
	told := time.Now()
	w.WaitSuccessor(r.Int("pid"))
	return time.Since(told)
}

// WaitSuccessor records the new process and waits until the old one has exited.
func (w *Weir) WaitSuccessor(pid int) {
	w.T.Helper()
	old := w.Process()
	w.AddSuccessor(pid)
	nettest.Wait(w.T, 30*time.Second, "the old process to end", func() bool { return !old.Alive() })
}

// AddSuccessor records that the process with this pid serves from now on.
func (w *Weir) AddSuccessor(pid int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.successors = append(w.successors, pid)
}

// SuccessorCount returns how many processes have taken over so far.
func (w *Weir) SuccessorCount() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.successors)
}

// SignalUpgrade sends SIGUSR2 and waits for the outcome.
func (w *Weir) SignalUpgrade(outcome string) Record {
	w.T.Helper()
	_, next := w.recordsFrom(0, func(Record) bool { return false })
	w.Signal(syscall.SIGUSR2)
	r := w.waitRecordFrom(next, 30*time.Second, "the upgrade's outcome", func(r Record) bool {
		return r.Text("event") == "upgrade" || r.Text("event") == "upgrade_failed"
	})
	require.Equal(w.T, outcome, r.Text("event"), "%v", r)
	return r
}

// UpgradeRecords returns the records of upgrades, in order.
func (w *Weir) UpgradeRecords() []Record {
	return w.Records(func(r Record) bool { return r.Text("event") == "upgrade" })
}
