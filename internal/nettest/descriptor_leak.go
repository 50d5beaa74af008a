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

// Run runs the tests of a test binary and returns its exit code. The code is not 0 if a test failed or if descriptors
// or goroutines remain that did not exist before; these are named on standard error. Use it in TestMain:
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
		return code // leaks of a failed test are a consequence
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

// CheckDescriptors fails the test if its process has more descriptors at the end of the test than now. It is for tests
// that do not run in parallel, because sockets of other tests would be counted.
func CheckDescriptors(t testing.TB) {
	t.Helper()
	before := Self().Descriptors()
	t.Cleanup(func() {
		if left := leftDescriptors(before); len(left) > 0 && !t.Failed() {
			t.Errorf("descriptors left open:\n\t%s", strings.Join(left, "\n\t"))
		}
	})
}

// leftDescriptors waits a few seconds for the garbage collector and late closes, then returns the new descriptors.
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
