package soak

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
)

// TestMain is also the child server: the test binary with arguments of its own.
func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == "server" {
		index, err := strconv.Atoi(os.Args[2])
		if err == nil {
			err = Serve(index, os.Args[3], os.Stdout)
		}
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(nettest.Run(m))
}

// Under 25 seconds of random load and faults, every end of a session is explained.
func TestShortSoakFindsNoUnexplainedEnd(t *testing.T) {
	binary := os.Getenv("WEIR_TEST_BINARY")
	if binary == "" {
		binary = filepath.Join(t.TempDir(), "weir")
		args := []string{"build", "-o", binary}
		if raceEnabled {
			args = append(args, "-race")
		}
		out, err := exec.Command("go", append(args, "weir/cmd/weir")...).CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	self, err := os.Executable()
	require.NoError(t, err)
	var report bytes.Buffer
	err = Run(Options{
		Binary: binary, Child: []string{self, "server"}, Time: 25 * time.Second, Seed: uint64(time.Now().UnixNano()),
		Clients: 12, Pause: 20 * time.Millisecond, Out: &report,
	})
	t.Log(report.String())
	require.NoError(t, err)
}
