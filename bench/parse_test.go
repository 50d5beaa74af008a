package main

import (
	"bufio"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestParseRedisBenchmark(t *testing.T) {
	const titles = `"test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms","p95_latency_ms","p99_latency_ms","max_latency_ms"` + "\n"
	r, err := parseRedisBenchmark([]byte(titles + `"GET","60790.27","0.597","0.088","0.583","0.975","1.119","4.879"` + "\n"))
	require.NoError(t, err)
	require.Equal(t, redisResult{rate: 60790.27, p50: 0.583, p99: 1.119}, r)

	for name, out := range map[string]string{
		"nothing":       "",
		"titles alone":  titles,
		"old version":   "\"test\",\"rps\"\n\"GET\",\"60790.27\"\n",
		"not a number":  titles + `"GET","fast","0.597","0.088","0.583","0.975","1.119","4.879"` + "\n",
		"broken line":   titles + `"GET","60790.27"` + "\n",
		"nothing moved": titles + `"GET","0.00","0.597","0.088","0.583","0.975","1.119","4.879"` + "\n",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parseRedisBenchmark([]byte(out))
			require.Error(t, err)
		})
	}
}

func TestParseWrk(t *testing.T) {
	const clean = `Running 3s test @ http://127.0.0.1:21003/
  2 threads and 100 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.90ms    1.59ms  10.85ms   70.93%
    Req/Sec    14.71k     1.45k   20.14k    80.00%
  88238 requests in 3.02s, 12.20MB read
`
	const rate = "Requests/sec:  29228.70\nTransfer/sec:      4.04MB\n"
	r, err := parseWrk([]byte(clean + rate))
	require.NoError(t, err)
	require.Equal(t, wrkResult{requests: 88238, rate: 29228.70}, r)

	r, err = parseWrk([]byte(clean + "  Socket errors: connect 1, read 20, write 0, timeout 3\n  Non-2xx or 3xx responses: 100\n" + rate))
	require.NoError(t, err)
	require.Equal(t, 124, r.failures)

	_, err = parseWrk([]byte("unable to connect to 127.0.0.1:1 Connection refused\n"))
	require.Error(t, err)
	_, err = parseWrk([]byte("  0 requests in 3.02s, 0.00B read\nRequests/sec:      0.00\n"))
	require.Error(t, err)
}

func TestParseProcFiles(t *testing.T) {
	cpu, err := parseSchedstat([]byte("2124978622 957246487 63202\n"))
	require.NoError(t, err)
	require.Equal(t, 2124978622*time.Nanosecond, cpu)
	_, err = parseSchedstat(nil)
	require.Error(t, err)

	pid, parent, err := parseParent([]byte("4321 (a (b) c) d) S 17 4321 17 0 -1 4194560 1\n"))
	require.NoError(t, err)
	require.Equal(t, []int{4321, 17}, []int{pid, parent})
	_, _, err = parseParent([]byte("4321 (a"))
	require.Error(t, err)

	pss, err := parsePss([]byte("558ba83bf000-7ffdc6fb4000 ---p 00000000 00:00 0   [rollup]\nRss:  1832 kB\nPss:   416 kB\nPss_Dirty:  120 kB\n"))
	require.NoError(t, err)
	require.EqualValues(t, 416*1024, pss)
	_, err = parsePss([]byte("Rss:  1832 kB\n"))
	require.Error(t, err)

	// idle (4th) and iowait (5th) are not busy, steal (8th) is, guest time is part of user time already.
	busy, err := parseBusy([]byte("cpu  100 20 30 99999 7777 5 6 7 50 50\ncpu0 1 2 3\n"))
	require.NoError(t, err)
	require.Equal(t, 1680*time.Millisecond, busy)
	_, err = parseBusy([]byte("intr 1 2 3"))
	require.Error(t, err)
}

func TestReadOwnProcess(t *testing.T) {
	before, err := readCPU(os.Getpid())
	require.NoError(t, err)
	require.NotEmpty(t, before)
	pss, err := readPss(os.Getpid())
	require.NoError(t, err)
	require.Positive(t, pss)

	// Counted in processes that open and close nothing themselves.
	count := func(open string) int {
		child := exec.Command("sh", "-c", open+"\necho ready\nread line")
		in, err := child.StdinPipe()
		require.NoError(t, err)
		out, err := child.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, child.Start())
		_, err = bufio.NewReader(out).ReadString('\n')
		require.NoError(t, err)
		n, err := countDescriptors(child.Process.Pid)
		require.NoError(t, err)
		require.NoError(t, in.Close())
		child.Wait() // its exit code says that there was no line
		return n
	}
	require.Equal(t, count(":")+1, count("exec 9>/dev/null"))

	after, err := readCPU(os.Getpid())
	require.NoError(t, err)
	require.Positive(t, after.since(before))
}

func TestCPUReadingIgnoresEndedThreads(t *testing.T) {
	before := cpuReading{1: time.Second, 2: 5 * time.Second}
	after := cpuReading{1: 3 * time.Second, 3: time.Second}
	require.Equal(t, 3*time.Second, after.since(before))
}
