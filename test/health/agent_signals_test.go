package health_test

import (
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// Signals that ask weir for a reload or for a log file, such as those of `pkill -HUP weir`, do not end an agent.
func TestAgentCommandSurvivesSignalsOfReload(t *testing.T) {
	t.Parallel()
	addr, cmd := agentProcess(t, "--say", "up")
	for _, signal := range []syscall.Signal{syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2} {
		require.NoError(t, cmd.Process.Signal(signal))
		text, end := weirtest.ReadSession(addr)
		require.Equal(t, nettest.EOF, end, signal)
		require.Equal(t, "up\n", text, signal)
	}
}
