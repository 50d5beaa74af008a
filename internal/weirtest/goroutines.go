package weirtest

import (
	"regexp"
	"strings"
	"syscall"
	"time"
)

// Goroutines ends the process with SIGQUIT and counts the goroutines in Go's traceback, by the function that started
// them.
func (w *Weir) Goroutines() map[string]int {
	w.T.Helper()
	w.Signal(syscall.SIGQUIT)
	w.WaitExit(10 * time.Second)
	w.mu.Lock()
	defer w.mu.Unlock()
	out := map[string]int{}
	for _, stack := range strings.Split(strings.Join(w.other, "\n"), "\n\n") {
		if !strings.HasPrefix(stack, "goroutine ") || strings.HasPrefix(stack, "goroutine 0 ") {
			continue // text, or the scheduler's own stack
		}
		by := "main"
		if m := createdBy.FindStringSubmatch(stack); m != nil {
			by = m[1]
		}
		if !strings.HasPrefix(by, "runtime.") { // the collector's workers come as they are needed
			out[by]++
		}
	}
	return out
}

var createdBy = regexp.MustCompile(`created by (\S+)`)
