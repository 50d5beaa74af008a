package packaging

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// systemd understands every line of the unit, and finds that the service may do little.
func TestUnit(t *testing.T) {
	text, err := os.ReadFile("weir.service")
	require.NoError(t, err)
	// Where the program is not installed, another one stands for it.
	unit := filepath.Join(t.TempDir(), "weir.service")
	require.NoError(t, os.WriteFile(unit, []byte(strings.ReplaceAll(string(text), "/usr/bin/weir", "/bin/true")), 0o644))
	output, err := exec.Command("systemd-analyze", "verify", "--man=no", unit).CombinedOutput()
	require.NoError(t, err, "%s", output)
	require.NotContains(t, string(output), "weir.service", "a warning")
	// The exposure is a number from 0 to 10, here in tenths.
	output, err = exec.Command("systemd-analyze", "security", "--offline=true", "--threshold=25", unit).CombinedOutput()
	require.NoError(t, err, "%s", output)
}

// The unit does under systemd what it says: it is ready when weir serves, a reload keeps the process, an upgrade makes the new one
// the main process, a crash and a hang start it again, and a stop ends it cleanly.
func TestUnitUnderSystemd(t *testing.T) {
	group := ownCgroup(t)
	results := t.TempDir()
	cmd := exec.Command("unshare", "--mount", "--pid", "--net", "--ipc", "--uts", "--cgroup", "--fork", "--kill-child",
		"sh", "testdata/systemd.sh", build(t), t.TempDir(), results)
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(group.Fd())}
	output, err := cmd.CombinedOutput()
	for _, name := range []string{"install", "console", "life"} {
		text, _ := os.ReadFile(filepath.Join(results, name))
		output = append(output, text...)
	}
	require.NoError(t, err, "%s", output)
	require.Contains(t, string(output), "== done", "%s", output)
}

// ownCgroup makes a cgroup for a process and everything that it starts, until the test ends.
func ownCgroup(t *testing.T) *os.File {
	t.Helper()
	mounts, err := os.ReadFile("/proc/mounts")
	require.NoError(t, err)
	at := ""
	for line := range strings.Lines(string(mounts)) {
		if field := strings.Fields(line); field[2] == "cgroup2" {
			at = field[1]
			break
		}
	}
	require.NotEmpty(t, at, "this host has no cgroup2")
	dir, err := os.MkdirTemp(at, "weir-test-")
	require.NoError(t, err)
	t.Cleanup(func() {
		var groups []string
		filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && entry.IsDir() {
				groups = append(groups, path)
			}
			return nil
		})
		for _, g := range slices.Backward(groups) {
			require.NoError(t, syscall.Rmdir(g))
		}
	})
	f, err := os.Open(dir)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}
