package main_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
)

// fails has a system call of a running weir fail 50 times on each of its threads that makes it, until stop is called, which
// returns how often it did.
func (w *weir) fails(call, errno string) (stop func() int) {
	w.t.Helper()
	trace := filepath.Join(w.t.TempDir(), "trace")
	cmd := exec.Command("strace", "-f", "-q", "-p", fmt.Sprint(w.proc()), "-o", trace,
		"-e", "trace="+call, "-e", "inject="+call+":error="+errno+":when=1..50")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(w.t, cmd.Start())
	nettest.Wait(w.t, 10*time.Second, "strace to attach", func() bool { return w.traced() })
	return func() int {
		cmd.Process.Signal(syscall.SIGINT)
		cmd.Wait()
		nettest.Wait(w.t, 10*time.Second, "strace to let go", func() bool { return !w.traced() })
		text, err := os.ReadFile(trace)
		require.NoError(w.t, err)
		return strings.Count(string(text), "(INJECTED)")
	}
}

func (w *weir) traced() bool {
	for _, pid := range w.statuses("TracerPid") {
		if pid != "0" {
			return true
		}
	}
	return false
}

// Whatever a system call answers, however often: weir goes on, sessions that the call has nothing to do with are not
// touched, there is a line a second in the log at most, and as soon as the call works again so does everything.
func TestSystemCallsFail(t *testing.T) {
	errnos := []string{"EMFILE", "ENFILE", "ENOBUFS", "ENOMEM", "EPERM", "EPROTO"}
	calls := []string{"accept4", "socket", "connect", "epoll_ctl", "pipe2", "splice", "sendto", "recvfrom", "setsockopt", "shutdown"}
	for _, errno := range errnos {
		t.Run(errno, func(t *testing.T) {
			t.Parallel()
			host := nettest.Start(t, nettest.Echo)
			w, addr, a := administered(t, layout{
				cluster: "max_fails = 0\nprotected = true", levels: servers(host.Addr()),
				checks: "[[cluster.c.check]]\ntype = \"tcp\"\ninterval = \"50ms\"\ntimeout = \"50ms\"\nfall = 1000\n",
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
					if res, err := a.http.Get("http://weir/v1/clusters"); err == nil { // may fail
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
				require.NoError(t, pingpong(stay))
				lines, begin := len(w.loud()), time.Now()
				heal := w.fails(call, errno)
				spared := !strings.Contains("sendto recvfrom setsockopt shutdown", call)
				for time.Since(begin) < 300*time.Millisecond && spared {
					require.NoError(t, pingpong(stay), call)
				}
				time.Sleep(time.Until(begin.Add(300 * time.Millisecond)))
				failed := heal()
				if call != "pipe2" { // pipes are kept, and seldom made
					require.Positive(t, failed, call)
				}
				took := time.Since(begin)
				require.LessOrEqual(t, len(w.loud())-lines, 2+int(took.Seconds()), call)
				healed := time.Now()
				nettest.Wait(t, 5*time.Second, "service after "+call, func() bool {
					c, err := nettest.TryDial(addr)
					if err != nil {
						return false
					}
					defer c.Close()
					return pingpong(c) == nil
				})
				if !raceEnabled {
					require.Less(t, nettest.Elapsed(healed), 2*time.Second, call)
				}
				a.ok("GET /v1/status", "")
				stay.Close()
			}
			stop()
			w.settledIdle(a)
		})
	}
}

// settledIdle waits for the end of all sessions, as the API tells.
func (w *weir) settledIdle(a api) {
	w.t.Helper()
	nettest.Wait(w.t, 10*time.Second, "no sessions", func() bool { return a.get("sessions") == 0.0 })
}
