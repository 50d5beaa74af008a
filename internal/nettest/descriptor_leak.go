package nettest

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// Run runs a test binary's tests and returns its exit code, which is not 0 when tests failed or when descriptors or
// goroutines are left that were not there before; they are named on standard error. TestMain is
//
//	func TestMain(m *testing.M) { os.Exit(nettest.Run(m)) }
func Run(m *testing.M) int {
	// The runtime opens its own poller with the first socket; that is not a leak.
	if ln, err := net.Listen("tcp", "127.0.0.1:0"); err == nil {
		ln.Close()
	}
	watchStalls()
	before, standing := Self().Descriptors(), goleak.IgnoreCurrent()
	code := m.Run()
	if code != 0 {
		return code // whatever a failed test left behind is a consequence
	}
	left := leftDescriptors(before)
	if len(left) > 0 {
		fmt.Fprintf(os.Stderr, "descriptors left open:\n\t%s\n", strings.Join(left, "\n\t"))
		code = 1
	}
	if err := goleak.Find(standing); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	return code
}

// CheckDescriptors fails the test when, at its end, the test's own process has descriptors it does not have now. It is
// for tests that run alone: others' sockets would be counted too.
func CheckDescriptors(t testing.TB) {
	t.Helper()
	before := Self().Descriptors()
	t.Cleanup(func() {
		if left := leftDescriptors(before); len(left) > 0 && !t.Failed() {
			t.Errorf("descriptors left open:\n\t%s", strings.Join(left, "\n\t"))
		}
	})
}

// leftDescriptors gives the collector and late closers a few seconds, then lists what is new.
func leftDescriptors(before Descriptors) []string {
	var left []string
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		runtime.GC() // io.Copy's pooled pipes are closed by finalizers
		left = Self().Descriptors().Since(before)
		if len(left) == 0 || time.Now().After(deadline) {
			return left
		}
	}
}
