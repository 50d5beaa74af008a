package checks

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
)

func TestMain(m *testing.M) { os.Exit(nettest.Run(m)) }

// builder is the options of any monitor.
type builder interface{ Monitor() (Monitor, error) }

// runCheck runs a monitor once against an address, within ten seconds.
func runCheck(t testing.TB, b builder, address string) (Report, error) {
	t.Helper()
	return checkWithin(t, b, Target{Cluster: "c", Server: "s", Address: address}, 10*time.Second)
}

func checkWithin(t testing.TB, b builder, target Target, limit time.Duration) (Report, error) {
	t.Helper()
	monitor, err := b.Monitor()
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	return monitor(ctx, target)
}

// limitFor returns the time limit of a check with an expected error: long enough for a busy machine, unless the error
// is a timeout.
func limitFor(want string) time.Duration {
	if strings.Contains(want, "timed out") {
		return 700 * time.Millisecond
	}
	return 10 * time.Second
}

// runMonitor runs a monitor once within limit.
func runMonitor(m Monitor, target Target, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	_, err := m(ctx, target)
	return err
}
