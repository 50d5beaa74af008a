package checks

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
)

func shellCommand(script string) Exec { return Exec{Command: []string{"sh", "-c", script}} }

func TestExec(t *testing.T) {
	for _, c := range []struct {
		script, want, detail string
	}{
		{"exit 0", "", ""},
		{"echo; echo '  fine  '; echo more", "", "fine"},
		{"echo to stderr >&2", "", "to stderr"},
		{"echo broken; exit 3", `expected exit code 0, got exit status 3: "broken"`, "broken"},
		{"exit 1", "expected exit code 0, got exit status 1: nothing", ""},
		{"kill -9 $$", "expected exit code 0, got signal: killed: nothing", ""},
		{"printf 'a\\033[31mb'; exit 1", `: "a?[31mb"`, "a?[31mb"},
		{"echo $WEIR_CLUSTER $WEIR_SERVER $WEIR_ADDRESS $WEIR_HOST $WEIR_PORT", "", "c s [::1]:53 ::1 53"},
		{"head -c 200 /dev/zero | tr '\\0' a", "", strings.Repeat("a", 120) + "…"},
		{"cat", "", ""},
		{"set -e; echo fine; head -c 900000 /dev/zero", "", "fine"},
		{"set -e; echo fine; head -c 3000000 /dev/zero", "", "fine"},
		{"echo fine; head -c 9000000 /dev/zero; exit 0", "", "fine"}, // head gets EPIPE; the program exits with 0
	} {
		t.Run(c.script, func(t *testing.T) {
			t.Parallel()
			report, err := checkWithin(t, shellCommand(c.script), Target{Cluster: "c", Server: "s", Address: "[::1]:53"}, 5*time.Second)
			if c.want == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, c.want)
			}
			require.Equal(t, c.detail, report.Detail)
		})
	}
}

func TestExecOfAUnixSocket(t *testing.T) {
	report, err := checkWithin(t, shellCommand("echo $WEIR_HOST,$WEIR_PORT."), Target{Network: "unix", Address: "/run/s"}, 5*time.Second)
	require.NoError(t, err)
	require.Equal(t, "/run/s,.", report.Detail)
}

// waitProcessGone waits until the process whose number is in a file has ended.
func waitProcessGone(t *testing.T, file string) {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	require.NoError(t, err)
	nettest.Wait(t, 5*time.Second, "the program to be gone", func() bool {
		if stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat"); err == nil && strings.Contains(string(stat), ") Z ") {
			return true // a zombie
		}
		return syscall.Kill(pid, 0) != nil
	})
}

func TestExecIsKilledWithItsProcessGroup(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	began := time.Now()
	_, err := checkWithin(t, shellCommand("echo waiting; sleep 1000 & echo $! > "+file+"; wait"), Target{}, 2*time.Second)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, `timed out: expected exit code 0, killed after "waiting"`)
	require.Less(t, nettest.Elapsed(began), 10*time.Second)
	waitProcessGone(t, file)
}

func TestExecLeftoverProcessIsKilled(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	report, err := runCheck(t, shellCommand("echo started; sleep 1000 & echo $! > "+file), "")
	require.NoError(t, err)
	require.Equal(t, "started", report.Detail)
	waitProcessGone(t, file)
}

func TestExecOutputIsLimited(t *testing.T) {
	report, err := runCheck(t, Exec{Command: []string{"yes", "no"}}, "")
	require.ErrorContains(t, err, "broken pipe")
	require.Equal(t, "no", report.Detail)
}

func TestExecCancelled(t *testing.T) {
	monitor, err := shellCommand("sleep 1000").Monitor()
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(50*time.Millisecond, cancel)
	_, err = monitor(ctx, Target{})
	require.ErrorIs(t, err, context.Canceled)
}

func TestExecWithoutProgramIsRejected(t *testing.T) {
	for _, command := range [][]string{nil, {""}, {"/nowhere/at/all"}, {"no-such-program-weir"}} {
		_, err := Exec{Command: command}.Monitor()
		require.ErrorContains(t, err, "command: ")
	}
}
