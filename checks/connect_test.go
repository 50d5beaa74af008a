package checks

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/conf"
	"weir/internal/nettest"
)

// connectJob is a job that only connects.
func connectJob(t *testing.T, address string, spec conf.Check) Job {
	t.Helper()
	spec.Type, spec.ID, spec.Servers = "tcp", "tcp", "all"
	monitor, err := NewMonitor(spec)
	require.NoError(t, err)
	require.True(t, OnlyConnects(&spec))
	return Job{Monitor: monitor, Target: Target{Cluster: "c", Server: address, Address: address}, Spec: spec, OnlyConnects: true}
}

// connectResults runs jobs on the event loop until each has had a number of results.
func connectResults(t *testing.T, n int, jobs ...Job) map[string][]Result {
	t.Helper()
	var mu sync.Mutex
	results := map[string][]Result{}
	done := make(chan struct{})
	r := NewRunner(Options{Result: func(res Result) {
		mu.Lock()
		defer mu.Unlock()
		results[res.Server] = append(results[res.Server], res)
		for _, j := range jobs {
			if len(results[j.Target.Server]) < n {
				return
			}
		}
		select {
		case <-done:
		default:
			close(done)
		}
	}})
	defer r.Close()
	r.Update(jobs)
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Error("results are missing")
	}
	r.Close()
	mu.Lock()
	defer mu.Unlock()
	return results
}

// A check on the event loop has the outcome and the text of the same monitor in a worker.
func TestConnectsLikeTheMonitor(t *testing.T) {
	open := nettest.Start(t, nettest.Echo)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	closed.Close()
	full := nettest.FullBacklog(t)
	for _, quiet := range []bool{false, true} {
		spec := conf.Check{Interval: time.Second, Timeout: 500 * time.Millisecond, Rise: 1, Fall: 1, Quiet: quiet}
		for _, address := range []string{open.Addr(), closed.Addr().String(), full, "[::1]:1", "255.255.255.255:1"} {
			job := connectJob(t, address, spec)
			got := connectResults(t, 1, job)[address]
			ctx, cancel := context.WithTimeout(context.Background(), spec.Timeout)
			_, want := job.Monitor(ctx, job.Target)
			cancel()
			if IsShortage(want) { // no result; the runner reports a skip
				require.Empty(t, got, address)
				continue
			}
			require.Equal(t, want == nil, got[0].Pass, address)
			if want != nil {
				require.Equal(t, want.Error(), got[0].Err.Error(), address)
				require.Equal(t, errors.Is(want, context.DeadlineExceeded), errors.Is(got[0].Err, context.DeadlineExceeded), address)
			}
		}
	}
}

// Many connections that are not answered are pending at once, end in time, are cancelled by a change and by Close, and
// leave no descriptor.
func TestPendingConnectsEnd(t *testing.T) {
	nettest.CheckDescriptors(t)
	full := nettest.FullBacklog(t)
	var jobs []Job
	for i := range 200 {
		job := connectJob(t, full, conf.Check{Interval: 50 * time.Millisecond, Timeout: 50 * time.Millisecond, Rise: 1, Fall: 1})
		job.Target.Server = fmt.Sprint("s", i)
		jobs = append(jobs, job)
	}
	for server, list := range connectResults(t, 3, jobs...) {
		for _, res := range list {
			require.ErrorIs(t, res.Err, context.DeadlineExceeded, server)
			require.Less(t, res.Took, 5*time.Second)
		}
	}
	for i := range jobs { // cancelled by Close
		jobs[i].Spec.Timeout = time.Hour
		jobs[i].Spec.Interval = time.Hour
	}
	r := NewRunner(Options{})
	r.Update(jobs)
	require.Eventually(t, func() bool { return r.Counters().Running == len(jobs) }, 10*time.Second, time.Millisecond)
	for i := range jobs { // cancelled by a change
		jobs[i].Target.Address = "127.0.0.1:1"
	}
	r.Update(jobs[:100])
	require.Eventually(t, func() bool { return r.Counters().Runs == 100 }, 10*time.Second, time.Millisecond)
	require.EqualValues(t, 200, r.Counters().Discarded)
	require.Zero(t, r.Counters().Running)
	r.Close()
}

// A socket whose local address the kernel chose to be that of the server is connected to itself: nothing listens there.
func TestConnectToItselfIsRefused(t *testing.T) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	defer syscall.Close(fd)
	require.NoError(t, syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	local, err := syscall.Getsockname(fd)
	require.NoError(t, err)
	require.NoError(t, syscall.Connect(fd, local))
	at := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(local.(*syscall.SockaddrInet4).Port))
	require.ErrorIs(t, connectedError(fd, at), syscall.ECONNREFUSED)
}
