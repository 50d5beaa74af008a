package upgrade_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// An upgrade is an event in the list of the process that serves, and so is a failed one.
func TestUpgradesAreEvents(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.SendText("A"))
	w, _, a := weirtest.ServeAPI(t, weirtest.Config{Levels: weirtest.OneLevel(host.Addr())})
	list := func() string { return a.MustRunCommand("events") }
	text, err := os.ReadFile(w.File)
	require.NoError(t, err)
	w.WriteConfig("what is this")
	w.SignalUpgrade("upgrade_failed")
	require.Contains(t, list(), "upgrade_failed")
	w.WriteConfig(string(text))
	w.Upgrade()
	nettest.Wait(t, 10*time.Second, "the event upgrade", func() bool {
		return strings.Contains(strings.ReplaceAll(list(), "upgrade_failed", ""), "upgrade")
	})
}
