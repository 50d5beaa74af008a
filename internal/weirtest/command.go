package weirtest

import (
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

// RunCommand runs a client command against the weir of an API.
func (a API) RunCommand(args ...string) (int, string) {
	a.T.Helper()
	return RunCommand(a.T, append(args, "--admin", "unix:"+a.Socket)...)
}

// MustRunCommand runs a client command that must succeed.
func (a API) MustRunCommand(args ...string) string {
	a.T.Helper()
	code, out := a.RunCommand(args...)
	require.Zero(a.T, code, "%v: %s", args, out)
	return out
}

// RunCommand runs a weir command to its end.
func RunCommand(t *testing.T, args ...string) (code int, output string) {
	t.Helper()
	out, err := exec.Command(Binary, args...).CombinedOutput()
	if err != nil {
		exit, ok := err.(*exec.ExitError)
		require.True(t, ok, "%v", err)
		return exit.ExitCode(), string(out)
	}
	return 0, string(out)
}
