package weirtest

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"weir/internal/nettest"
)

// Binary is the path of the weir under test. Run builds it, with the race detector if the tests have it, unless WEIR_TEST_BINARY
// names one that was built in this way.
var Binary string

// builds is the directory of what this process builds.
var builds string

// Scale multiplies the counts and volumes of the tests that are worth more at a larger size. WEIR_TEST_SCALE sets it.
var Scale = 1.0

// Scaled returns n at the chosen scale, at least 1.
func Scaled(n int) int { return max(1, int(float64(n)*Scale)) }

// Bound returns the upper bound of a time that a test measures: d in a campaign, whose machine is idle, and five times d
// elsewhere, where other work may delay weir.
func Bound(d time.Duration) time.Duration {
	if !Campaign() {
		return 5 * d
	}
	return d
}

// Run builds the binary under test, runs the tests of a package and returns its exit code. TestMain calls it. A package
// that leaks descriptors or processes fails.
func Run(m *testing.M) int {
	flag.Parse()
	// Most tests spend most of their time waiting; running more of them at once than there are processors saves time.
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		f.Value.Set("8")
	}
	// A program with the race detector sleeps for a second when it ends, unless it is told otherwise.
	if os.Getenv("GORACE") == "" {
		os.Setenv("GORACE", "exitcode=66 atexit_sleep_ms=50")
	}
	if text := os.Getenv("WEIR_TEST_SCALE"); text != "" {
		var err error
		if Scale, err = strconv.ParseFloat(text, 64); err != nil {
			fmt.Fprintln(os.Stderr, "WEIR_TEST_SCALE:", err)
			return 1
		}
	}
	if err := nettest.AdoptOrphans(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	dir, err := os.MkdirTemp("", "weirtest")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	builds = dir
	if Binary = os.Getenv("WEIR_TEST_BINARY"); Binary == "" {
		Binary = filepath.Join(dir, "weir")
		args := []string{"build", "-o", Binary}
		if RaceEnabled {
			args = append(args, "-race")
		}
		build := exec.Command("go", append(args, "weir/cmd/weir")...)
		build.Stdout, build.Stderr = os.Stderr, os.Stderr
		if err := build.Run(); err != nil {
			fmt.Fprintln(os.Stderr, "building weir:", err)
			return 1
		}
	}
	return nettest.Run(m)
}

// StaticProgram builds weir as it is shipped, without cgo: only such a build can change its user.
var StaticProgram = sync.OnceValues(func() (string, error) {
	file := filepath.Join(builds, "weir-static")
	build := exec.Command("go", "build", "-trimpath", "-o", file, "weir/cmd/weir")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	os.Chmod(builds, 0o755) // for the user that weir becomes
	return file, nil
})
