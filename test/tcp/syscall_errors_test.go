package tcp_test

import (
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// Whatever error a system call returns, however often, weir continues, unrelated sessions are not affected, the log
// gets at most a line a second, and service recovers as soon as the call succeeds.
func TestSystemCallsFail(t *testing.T) {
	errnos := []string{"EMFILE", "ENFILE", "ENOBUFS", "ENOMEM", "EPERM", "EPROTO"}
	calls := []string{"accept4", "socket", "connect", "epoll_ctl", "pipe2", "splice", "sendto", "recvfrom", "setsockopt", "shutdown"}
	for _, errno := range errnos {
		t.Run(errno, func(t *testing.T) {
			t.Parallel()
			host := nettest.Start(t, nettest.Echo)
			w, addr, a := weirtest.ServeAPI(t, weirtest.Config{
				Cluster: "max_fails = 0\nprotected = true", Levels: weirtest.OneLevel(host.Addr()),
				Checks: "[[cluster.c.check]]\ntype = \"tcp\"\ninterval = \"50ms\"\ntimeout = \"50ms\"\nfall = 1000\n",
			})
			var done atomic.Bool
			var clients sync.WaitGroup
			for range 3 {
				clients.Go(func() {
					for !done.Load() {
						if c, err := nettest.TryDial(addr); err == nil {
							c.SetDeadline(time.Now().Add(500 * time.Millisecond))
							nettest.Exchange(c, rand.Uint64(), rand.Int64N(200_000), 1<<20) // may fail
							c.Close()
						}
					}
				})
			}
			clients.Go(func() {
				for !done.Load() {
					if res, err := a.HTTP.Get("http://weir/v1/clusters"); err == nil { // may fail
						res.Body.Close()
					}
				}
			})
			stop := sync.OnceFunc(func() {
				done.Store(true)
				clients.Wait()
			})
			defer stop()
			for _, call := range calls {
				stay := nettest.Dial(t, addr)
				require.NoError(t, weirtest.PingPong(stay))
				lines, begin := len(w.Warnings()), time.Now()
				failures, heal := w.InjectErrors(call, errno)
				spared := !strings.Contains("sendto recvfrom setsockopt shutdown", call)
				for time.Since(begin) < 300*time.Millisecond && spared {
					require.NoError(t, weirtest.PingPong(stay), call)
				}
				time.Sleep(time.Until(begin.Add(300 * time.Millisecond)))
				if call != "pipe2" { // pipes are kept, and seldom made
					nettest.Wait(t, 10*time.Second, call+" to fail", func() bool { return failures() > 0 })
				}
				heal()
				took := time.Since(begin)
				require.LessOrEqual(t, len(w.Warnings())-lines, 2+int(took.Seconds()), call)
				healed := time.Now()
				nettest.Wait(t, 5*time.Second, "service after "+call, func() bool {
					c, err := nettest.TryDial(addr)
					if err != nil {
						return false
					}
					defer c.Close()
					return weirtest.PingPong(c) == nil
				})
				if !weirtest.RaceEnabled {
					require.Less(t, nettest.Elapsed(healed), 2*time.Second, call)
				}
				a.MustDo("GET /v1/status", "")
				stay.Close()
			}
			stop()
			w.WaitNoSessions(a)
		})
	}
}
