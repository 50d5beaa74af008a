package main

import (
	"bytes"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A watchdog timeout of a microsecond, which cannot be met, has a floor and one line in the log.
func TestTinyWatchdogTimeoutHasAFloor(t *testing.T) {
	t.Setenv("WATCHDOG_USEC", "1")
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	var out bytes.Buffer
	m := newServiceManager(slog.New(slog.NewTextHandler(&out, nil)), false)
	require.Equal(t, minWatchdog, m.watchdog)
	require.Equal(t, 1, strings.Count(out.String(), "\n"), out.String())
}
