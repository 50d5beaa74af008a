package engine_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
)

// slow is a check whose interval is longer than the test.
const slow = `
[[cluster.c.check]]
type = "tcp"
interval = "20s"
timeout = "1s"
fall = 1
`

// A server is checked at once after maintenance.
func TestServerIsCheckedAfterMaintenance(t *testing.T) {
	t.Parallel()
	a, aName := startGreeter(t, "A")
	_, b := startGreeter(t, "B")
	s := startScript(t, cluster("max_fails = 0", aName+", "+b)+slow)
	requireOneCheck(t, a)
	require.NoError(t, s.e.Override("user test", "c", "A", []byte(`{"state": "maint"}`)))
	a.Down()
	require.NoError(t, s.e.Override("user test", "c", "A", []byte(`{"state": null}`)))
	s.countEvents("server_down A up→down")
}

// A failing server is checked at once.
func TestFailingServerIsChecked(t *testing.T) {
	t.Parallel()
	a, aName := startGreeter(t, "A")
	_, b := startGreeter(t, "B")
	s := startScript(t, cluster("max_fails = 1\nfail_timeout = \"60s\"", aName+", "+b)+slow)
	requireOneCheck(t, a)
	a.Down()
	for range 2 { // one of them meets with the refusal
		c := s.openSession("B")
		c.Close()
	}
	s.countEvents("server_state A failing→down")
}

// requireOneCheck waits until a server has been checked once.
func requireOneCheck(t *testing.T, h *nettest.Host) {
	t.Helper()
	nettest.Wait(t, 5*time.Second, "the first check", func() bool { return h.Accepted() > 0 && h.Open() == 0 })
}
