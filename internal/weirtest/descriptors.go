package weirtest

import (
	"strings"
	"time"

	"weir/internal/nettest"
)

// DescriptorKinds counts the process's descriptors by kind, without those of the Go runtime's poller, which is opened
// at first use.
func (w *Weir) DescriptorKinds() map[string]int {
	kinds := w.Process().Descriptors().Kinds()
	delete(kinds, "eventpoll")
	delete(kinds, "eventfd")
	return kinds
}

// WaitSockets waits until the process has exactly the sockets it had when it was ready.
func (w *Weir) WaitSockets(within time.Duration) {
	w.T.Helper()
	w.waitKinds(within, func(now map[string]int) bool { return now["socket"] == w.Baseline["socket"] })
}

// WaitDescriptors waits until no kind has more descriptors than at the start. Spare pipes are included; weir keeps them
// for a while.
func (w *Weir) WaitDescriptors() {
	w.T.Helper()
	w.waitKinds(patience, func(now map[string]int) bool {
		for kind, n := range now {
			if n > w.Baseline[kind] { // fewer than then is no leak: a check may have been reading a file
				return false
			}
		}
		return now["socket"] == w.Baseline["socket"]
	})
}

func (w *Weir) waitKinds(within time.Duration, done func(now map[string]int) bool) {
	w.T.Helper()
	for begin := time.Now(); !done(w.DescriptorKinds()); time.Sleep(5 * time.Millisecond) {
		if time.Since(begin) > within && nettest.Elapsed(begin) > within {
			w.T.Errorf("weir's descriptors: want %v, got %v after %v\n%s", w.Baseline, w.DescriptorKinds(), within,
				strings.Join(w.Process().Descriptors().Since(nil), "\n"))
			return
		}
	}
}
