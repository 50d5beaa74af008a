package cli

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/status"
)

// weir rebalance --wait follows the closing to its end; without a terminal it does not wait unless it is told to.
func TestRebalanceWaits(t *testing.T) {
	var looks atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			json.NewEncoder(w).Encode(status.Rebalance{Cluster: "c", Surplus: 12, Servers: []status.ServerShare{{Level: "1", Server: "a", Sessions: 36, Share: 24, Surplus: 12}}})
			return
		}
		c := status.Cluster{Name: "c"}
		if looks.Add(1) == 1 {
			c.Closing = &status.Closing{Left: 3, Total: 12, Quiet: 9, Causes: []string{"rebalance"}}
		}
		json.NewEncoder(w).Encode(c)
	}))
	defer s.Close()
	run := func(args ...string) (string, string) {
		var out, progress strings.Builder
		root := NewRoot(Program{Version: "test"})
		root.SetOut(&out)
		root.SetErr(&progress)
		root.SetArgs(append([]string{"rebalance", "c", "--admin", s.Listener.Addr().String()}, args...))
		require.NoError(t, root.Execute())
		return out.String(), progress.String()
	}
	out, progress := run()
	require.NotContains(t, out, "rebalanced")
	require.Empty(t, progress)
	require.Zero(t, looks.Load())
	out, progress = run("--wait")
	require.True(t, strings.HasPrefix(out, "c: closing 12 of 36 sessions\n"), out)
	require.True(t, strings.HasSuffix(out, "\nc: rebalanced\n"), out)
	require.Equal(t, "c: closing 3 of 12, 9 quiet closes, 0 forced (rebalance)\n", progress)
	require.EqualValues(t, 2, looks.Load())
}

func TestWaitingTexts(t *testing.T) {
	now := time.Now()
	at := func(d time.Duration) *time.Time { return new(now.Add(d)) }
	require.Equal(t, "stopping: 12 sessions left, cut in 25s", stopText(&status.Document{Sessions: 12, StopsAt: at(24100 * time.Millisecond)}, now))
	require.Equal(t, "stopping: 1 session left", stopText(&status.Document{Sessions: 1}, now), "of an earlier version")
	x := status.Explanation{}
	x.Sessions = 3
	require.Equal(t, "c/a: 3 sessions left", drainText("c/a", &x, now))
	x.Deadline = at(271 * time.Second)
	require.Equal(t, "c/a: 3 sessions left, cut in 4m31s", drainText("c/a", &x, now))
}
