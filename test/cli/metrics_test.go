package cli_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// A scrape of ten thousand servers is quick, also with several clients, while a session continues; promtool accepts the
// result. So is weir status, which shows few of them.
func TestScrapeAndStatusOfManyServers(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	many := []string{host.Addr() + " name=first weight=256"}
	for i := range 10_000 {
		many = append(many, fmt.Sprintf("127.1.%d.%d:1 weight=0", i/250, i%250+1))
	}
	w, addr, a := weirtest.ServeAPI(t, weirtest.Config{Levels: weirtest.OneLevel(many...)})
	c := nettest.Dial(t, addr)
	require.NoError(t, weirtest.PingPong(c))

	a.HTTP.Timeout = 2 * time.Minute
	quickest := time.Hour
	var text []byte
	for range 3 {
		before := w.Process().CPUTime(t) // other work of this machine must not count
		res, err := a.HTTP.Get("http://weir/metrics")
		require.NoError(t, err)
		text, err = io.ReadAll(res.Body)
		res.Body.Close()
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, res.StatusCode)
		quickest = min(quickest, w.Process().CPUTime(t)-before)
		require.NoError(t, weirtest.PingPong(c))
	}
	most := 300 * time.Millisecond
	if weirtest.RaceEnabled {
		most *= 10
	}
	require.Less(t, quickest, most)
	for _, line := range []string{
		`weir_sessions{listener="l"} 1`, `weir_server_sessions{cluster="c",server="first"} 1`, `weir_cluster_servers{cluster="c",state="up"} 10001`,
	} {
		require.True(t, bytes.Contains(text, []byte(line+"\n")), line)
	}
	promtool := exec.Command("promtool", "check", "metrics")
	promtool.Stdin = bytes.NewReader(text)
	output, err := promtool.CombinedOutput()
	require.NoError(t, err, "%s", output)

	quickest = time.Hour
	for range 3 {
		before := w.Process().CPUTime(t)
		cmd := exec.Command(weirtest.Binary, "status", "--admin", "unix:"+a.Socket)
		output, err = cmd.Output()
		require.NoError(t, err)
		quickest = min(quickest, w.Process().CPUTime(t)-before+cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime())
	}
	require.Less(t, quickest, most)
	require.Contains(t, string(output), "c: 10001 servers up, wrr, level 1 in use")
	require.Contains(t, string(output), "(10001 of 10001)")
	require.Less(t, bytes.Count(output, []byte("\n")), 20)
}
