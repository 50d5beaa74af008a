package reaper

import (
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Orphans are waited for, and every program keeps its own exit code, however many end at the same time.
func TestReapKeepsExitCodesOfOwnPrograms(t *testing.T) {
	require.NoError(t, Adopt())
	require.True(t, Adopts())
	var mu sync.Mutex
	ended := map[int]syscall.WaitStatus{}
	Watch(func(pid int, status syscall.WaitStatus) {
		mu.Lock()
		defer mu.Unlock()
		ended[pid] = status
	})
	defer Watch(nil)
	children := make(chan os.Signal, 1)
	signal.Notify(children, syscall.SIGCHLD)
	defer signal.Stop(children)
	go func() {
		for range children {
			Reap()
		}
	}()

	var work sync.WaitGroup
	var failed atomic.Int64
	for i := range 8 {
		work.Go(func() {
			for j := range 25 {
				code := (i*25 + j) % 64
				cmd := exec.Command("sh", "-c", "(sleep 0.001; exit 99) & exit "+strconv.Itoa(code))
				if Start(cmd) != nil {
					failed.Add(1)
					continue
				}
				Wait(cmd)
				if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != code {
					failed.Add(1)
				}
			}
		})
	}
	work.Wait()
	require.Zero(t, failed.Load(), "programs that did not start or lost their exit code")
	orphans := func() (n int) {
		mu.Lock()
		defer mu.Unlock()
		for _, status := range ended {
			if status.ExitStatus() == 99 {
				n++
			}
		}
		return n
	}
	require.Eventually(t, func() bool { return orphans() == 200 }, 10*time.Second, time.Millisecond, "orphans that were not reaped")
}
