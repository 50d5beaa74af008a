package weirtest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/stretchr/testify/require"
)

// ChildProcesses returns the processes that a process has started and not waited for.
func ChildProcesses(pid int) (pids []string) {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, t := range tasks {
		text, _ := os.ReadFile(t)
		pids = append(pids, strings.Fields(string(text))...)
	}
	return pids
}

// ThreadStatus returns the distinct lines of a kind in the status of all threads.
func (w *Weir) ThreadStatus(kind string) []string {
	w.T.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", w.Process()))
	require.NoError(w.T, err)
	seen := map[string]bool{}
	var lines []string
	for _, file := range files {
		text, _ := os.ReadFile(file)
		for line := range strings.Lines(string(text)) {
			if rest, ok := strings.CutPrefix(line, kind+":"); ok && !seen[rest] {
				seen[rest] = true
				lines = append(lines, strings.Join(strings.Fields(rest), " "))
			}
		}
	}
	return lines
}
