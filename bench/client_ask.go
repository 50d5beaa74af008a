package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// askResult is what the ask subcommand prints, as JSON.
type askResult struct {
	Requests  int     `json:"requests"`
	PerSecond float64 `json:"per_second"`
	P50       float64 `json:"p50_ms"`
	P99       float64 `json:"p99_ms"`
}

// askWarm is the number of requests before those that count.
const askWarm = 200

// runAsk is the ask subcommand: one client that requests a key from a redis-server, waits for the response and repeats,
// for the given time. redis-benchmark counts latency in steps of 8 µs, a tenth of one client's round trip: too coarse
// for a ratio. Here every round trip is measured in nanoseconds.
func runAsk(out io.Writer, target string, length time.Duration) error {
	conn, err := blockingConn(target)
	if err != nil {
		return err
	}
	defer conn.Close()
	request := fmt.Appendf(nil, "*2\r\n$3\r\nGET\r\n$%d\r\n%s\r\n", len(benchKey), benchKey)
	reply := make([]byte, len("$64\r\n")+64+len("\r\n"))
	roundTrip := func() error {
		if _, err := conn.Write(request); err != nil {
			return err
		}
		_, err := io.ReadFull(conn, reply)
		return err
	}
	for range askWarm {
		if err := roundTrip(); err != nil {
			return err
		}
	}
	latencies := hdrhistogram.New(1000, int64(10*time.Second), 3)
	begin := time.Now()
	last, requests := begin, 0
	for last.Sub(begin) < length {
		if err := roundTrip(); err != nil {
			return err
		}
		now := time.Now()
		if err := latencies.RecordValue(int64(now.Sub(last))); err != nil {
			return err
		}
		last = now
		requests++
	}
	millis := func(percentile float64) float64 { return float64(latencies.ValueAtPercentile(percentile)) / 1e6 }
	return json.NewEncoder(out).Encode(askResult{
		Requests: requests, PerSecond: float64(requests) / last.Sub(begin).Seconds(), P50: millis(50), P99: millis(99),
	})
}

// blockingConn connects and removes the connection from the runtime's poller: a read is one blocking system call, as in
// a C client, not a wait of the scheduler.
func blockingConn(target string) (io.ReadWriteCloser, error) {
	conn, err := net.Dial("tcp4", target)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	file, err := conn.(*net.TCPConn).File() // a duplicate: it outlives conn
	if err != nil {
		return nil, err
	}
	file.Fd() // makes it blocking
	return file, nil
}
