package main_test

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"weir/internal/nettest"
)

// binary is the weir under test, built once by TestMain: with the race detector when the tests have it.
var binary string

// scale multiplies the counts and volumes of the tests that are worth more at a larger size. WEIR_TEST_SCALE sets it.
var scale = 1.0

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	if how := os.Getenv(heirEnv); how != "" {
		return failingHeir(how)
	}
	if server := os.Getenv(relayEnv); server != "" {
		return plainRelay(server)
	}
	flag.Parse()
	// Most tests wait most of the time; more of them at once than there are processors only saves time.
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		f.Value.Set("8")
	}
	if text := os.Getenv("WEIR_TEST_SCALE"); text != "" {
		var err error
		if scale, err = strconv.ParseFloat(text, 64); err != nil {
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
	binary = filepath.Join(dir, "weir")
	args := []string{"build", "-o", binary}
	if raceEnabled {
		args = append(args, "-race")
	}
	build := exec.Command("go", append(args, "weir/cmd/weir")...)
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "building weir:", err)
		return 1
	}
	return nettest.Run(m)
}

// scaled is a count at the chosen scale.
func scaled(n int) int { return max(1, int(float64(n)*scale)) }
