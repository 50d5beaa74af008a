package tcp_test

import (
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// A flood of connections far over the limit costs admitted sessions only a little time, with little free memory and a
// log that cannot be written.
func TestConnectionFloodDelaysNoSession(t *testing.T) { // alone: it measures time
	host := nettest.Start(t, nettest.Greet("x", nettest.Echo))
	a := weirtest.NewAPI(t)
	l := weirtest.Config{Listen: nettest.Reserve(t), Listener: "max_sessions = 60\ndeny = [\"127.0.0.66\"]", Levels: weirtest.OneLevel(host.Addr())}
	state := filepath.Join(t.TempDir(), "full", "state")
	l.Runtime = fmt.Sprintf("state_file = %q", state)
	config := a.AddTo(strings.Replace(l.String(), "[log]", "[log]\nfile = \"/dev/full\"", 1))
	w := weirtest.Options{Wrapper: []string{"env", "GOMEMLIMIT=16MiB"}}.StartUnready(t, config)
	nettest.Wait(t, 10*time.Second, "weir to be ready", func() bool {
		res, err := a.HTTP.Get("http://weir/readyz")
		if err == nil {
			res.Body.Close()
		}
		return err == nil && res.StatusCode == 200
	})
	var in []*net.TCPConn
	for range 50 {
		c, ok := come(t, "127.0.0.1", l.Listen)
		require.True(t, ok)
		in = append(in, c.(*net.TCPConn))
	}
	round := func() time.Duration { // the slowest of all
		var worst time.Duration
		for _, c := range in {
			begin := time.Now()
			require.NoError(t, weirtest.PingPong(c))
			worst = max(worst, time.Since(begin))
		}
		return worst
	}
	before := host.Accepted()
	var done atomic.Bool
	var stormed atomic.Int64
	var storm sync.WaitGroup
	for range 4 {
		storm.Go(func() {
			d := net.Dialer{Timeout: 5 * time.Second, LocalAddr: &net.TCPAddr{IP: net.ParseIP("127.0.0.66")}}
			for !done.Load() {
				stormed.Add(1)
				if c, err := d.Dial("tcp", l.Listen); err == nil {
					c.(*net.TCPConn).SetLinger(0)
					c.Close()
				}
			}
		})
	}
	begin := time.Now()
	var slowest []time.Duration // of each round
	for time.Since(begin) < 1500*time.Millisecond || len(slowest) < 5 || stormed.Load() <= 200 {
		slowest = append(slowest, round())
	}
	done.Store(true)
	storm.Wait()
	usual := weirtest.Median(slowest)
	t.Logf("%d clients stormed in vain; of %d rounds of those who were in, half had none that waited longer than %v", stormed.Load(), len(slowest), usual)
	require.Less(t, usual, weirtest.Bound(time.Second/2))
	require.Equal(t, before, host.Accepted())
	nettest.Wait(t, weirtest.Bound(time.Second), "recovery", func() bool {
		c, ok := come(t, "127.0.0.1", l.Listen)
		if ok {
			c.Close()
		}
		return ok
	})
	w.WriteConfig(config)
	a.MustDo("POST /v1/reload", "")
	round()
	nettest.Wait(t, 5*time.Second, "the last rejections", func() bool { return rejections(a)["denied"] >= int(stormed.Load()) })
	require.Equal(t, map[string]int{"denied": int(stormed.Load())}, rejections(a))
}
