//go:build measure

package checks

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/conf"
)

// TestCostOfTenThousandServers measures what a steady load of checks costs: 10,000 tcp checks every 2 s against another
// process that listens on all of 127.0.0.0/8. It takes its time and is run on request:
//
//	go test -tags measure -run TestCostOfTenThousandServers -v ./checks
func TestCostOfTenThousandServers(t *testing.T) {
	port := listenElsewhere(t)
	monitor, err := NewMonitor(conf.Check{Type: "tcp"})
	require.NoError(t, err)
	var passed, failed atomic.Int64
	var buckets [6000]atomic.Int32
	start := time.Now()
	r := NewRunner(Options{Result: func(r Result) {
		if r.Pass {
			passed.Add(1)
		} else {
			failed.Add(1)
		}
		if i := int(r.At.Sub(start) / (10 * time.Millisecond)); i < len(buckets) {
			buckets[i].Add(1)
		}
	}})
	defer r.Close()
	const servers = 10_000
	jobs := make([]Job, servers)
	for i := range jobs {
		address := fmt.Sprintf("127.%d.%d.1:%d", i/250, i%250, port)
		jobs[i] = Job{
			Monitor: monitor, Identity: address,
			Target: Target{Cluster: "c", Server: address, Address: address},
			Spec:   conf.Check{ID: "tcp", Interval: 2 * time.Second, Timeout: time.Second, Rise: 2, Fall: 3},
		}
	}
	r.Update(jobs)
	for range 4 {
		cpu, runs, began := cpuTime(t), passed.Load(), time.Now()
		time.Sleep(4 * time.Second)
		took, n := time.Since(began), passed.Load()-runs
		used := cpuTime(t) - cpu
		t.Logf("%.3f cores, %.0f checks/s, %.1f µs per check, %+v", used.Seconds()/took.Seconds(), float64(n)/took.Seconds(), float64(used.Microseconds())/float64(n), r.Counters())
	}
	busiest, sum, n := int32(0), 0, 0
	for i := range int(time.Since(start) / (10 * time.Millisecond)) {
		busiest = max(busiest, buckets[i].Load())
		sum += int(buckets[i].Load())
		n++
	}
	t.Logf("busiest 10 ms: %d, mean %.1f", busiest, float64(sum)/float64(n))
	require.Zero(t, failed.Load())
}

// listenElsewhere starts a process that accepts, and closes, connections on a port of every loopback address.
func listenElsewhere(t testing.TB) (port int) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestListenElsewhere$")
	cmd.Env = append(os.Environ(), "WEIR_LISTEN_ELSEWHERE=1")
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	var line [64]byte
	n, err := out.Read(line[:])
	require.NoError(t, err)
	port, err = strconv.Atoi(string(bytes.TrimSpace(line[:n])))
	require.NoError(t, err)
	return port
}

// TestListenElsewhere is the other process of listenElsewhere; it ends when its standard input does.
func TestListenElsewhere(t *testing.T) {
	if os.Getenv("WEIR_LISTEN_ELSEWHERE") == "" {
		return
	}
	l, err := net.Listen("tcp4", "0.0.0.0:0")
	require.NoError(t, err)
	fmt.Println(l.Addr().(*net.TCPAddr).Port)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.Close()
		}
	}()
	_, _ = os.Stdin.Read(make([]byte, 1))
	_ = l.Close()
	<-done
}

// cpuTime returns the processor time used by this process, in steps of 10 ms.
func cpuTime(t testing.TB) time.Duration {
	t.Helper()
	stat, err := os.ReadFile("/proc/self/stat")
	require.NoError(t, err)
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	var ticks time.Duration
	for _, f := range fields[11:13] {
		n, err := strconv.Atoi(f)
		require.NoError(t, err)
		ticks += time.Duration(n)
	}
	return ticks * 10 * time.Millisecond
}
