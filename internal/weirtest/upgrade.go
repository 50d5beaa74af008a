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

// CopyProgram is a copy of the binary under test at a path of its own, where it can be replaced.
func CopyProgram(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "weir")
	ReplaceProgram(t, path, Binary)
	return path
}

// ReplaceProgram replaces a program as package managers do: the new file takes the name of the old one. Nothing is written here,
// so that no process started meanwhile holds the file open for writing, which would keep it from being run.
func ReplaceProgram(t *testing.T, path, from string) {
	t.Helper()
	if os.Link(from, path+".new") != nil { // another file system
		out, err := exec.Command("cp", from, path+".new").CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	require.NoError(t, os.Rename(path+".new", path))
}

// Upgrade has the process hand over to the program on disk, and waits until the old process has ended. It returns how
// long that took from the outcome on.
func (w *Weir) Upgrade() time.Duration {
	w.T.Helper()
	r := w.SignalUpgrade("upgrade")
	told := time.Now()
	w.WaitSuccessor(r.Int("pid"))
	return time.Since(told)
}

// WaitSuccessor notes who serves now, and waits for the end of the process before.
func (w *Weir) WaitSuccessor(pid int) {
	w.T.Helper()
	old := w.Process()
	w.AddSuccessor(pid)
	nettest.Wait(w.T, 10*time.Second, "the old process to end", func() bool { return !old.Alive() })
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
	over := func(r Record) bool { return r.Text("event") == "upgrade" || r.Text("event") == "upgrade_failed" }
	before := len(w.Records(over))
	w.Signal(syscall.SIGUSR2)
	var r Record
	nettest.Wait(w.T, 30*time.Second, "the upgrade's outcome", func() bool {
		if all := w.Records(over); len(all) > before {
			r = all[before]
		}
		return r != nil
	})
	require.Equal(w.T, outcome, r.Text("event"), "%v", r)
	return r
}

// UpgradeRecords are those that have been told, in order.
func (w *Weir) UpgradeRecords() []Record {
	return w.Records(func(r Record) bool { return r.Text("event") == "upgrade" })
}
