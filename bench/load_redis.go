package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net"
	"strconv"
)

// benchKey is the key redis-benchmark reads when it is not asked for random ones.
const benchKey = "key:__rand_int__"

// requests drives the redis-server with GETs; each client waits for its response before the next request. redis-
// benchmark takes a number of requests, not a time: a short first load, which also warms everything up, determines the
// number.
func requests(ctx context.Context, t *trial) (values, error) {
	first, err := generate(ctx, t.redisBenchmark(min(1000+200*t.row.clients, 15000)))
	if err != nil {
		return nil, err
	}
	speed, err := parseRedisBenchmark(first.out)
	if err != nil {
		return nil, err
	}
	n := max(1000, int(speed.rate*t.window.Seconds()))
	load, err := t.measure(ctx, t.redisBenchmark(n))
	if err != nil {
		return nil, err
	}
	result, err := parseRedisBenchmark(load.out)
	if err != nil {
		return nil, err
	}
	v := t.costs(load, n)
	v[metricRate], v[metricP50], v[metricP99] = result.rate, result.p50, result.p99
	return v, nil
}

// oneClient drives the redis-server with a single client, whose round trips this program measures itself.
func oneClient(ctx context.Context, t *trial) (values, error) {
	load, err := t.measure(ctx, []string{t.self, "ask", "-target", t.target, "-for", t.window.String()})
	if err != nil {
		return nil, err
	}
	var result askResult
	if err := json.Unmarshal(load.out, &result); err != nil {
		return nil, fmt.Errorf("ask: %w in %q", err, load.out)
	}
	v := t.costs(load, result.Requests)
	v[metricRate], v[metricP50], v[metricP99] = result.PerSecond, result.P50, result.P99
	return v, nil
}

// redisBenchmark is the command for n requests in all from the row's number of clients.
func (t *trial) redisBenchmark(n int) []string {
	host, port, _ := net.SplitHostPort(t.target)
	return []string{
		"redis-benchmark", "-h", host, "-p", port, "-t", "get", "--csv",
		"-c", strconv.Itoa(t.row.clients), "-n", strconv.Itoa(max(n, t.row.clients)),
	}
}

// redisResult is one line of redis-benchmark: requests per second and latencies in milliseconds.
type redisResult struct{ rate, p50, p99 float64 }

// parseRedisBenchmark reads the output of "redis-benchmark --csv" with one test: a line of titles, a line of figures.
func parseRedisBenchmark(out []byte) (redisResult, error) {
	lines, err := csv.NewReader(bytes.NewReader(out)).ReadAll()
	if err != nil {
		return redisResult{}, fmt.Errorf("redis-benchmark: %w", err)
	}
	if len(lines) != 2 {
		return redisResult{}, fmt.Errorf("redis-benchmark: want two lines, got %q", out)
	}
	figures := map[string]float64{}
	for i, title := range lines[0][1:] {
		if figures[title], err = strconv.ParseFloat(lines[1][i+1], 64); err != nil {
			return redisResult{}, fmt.Errorf("redis-benchmark: %s: %w", title, err)
		}
	}
	r := redisResult{figures["rps"], figures["p50_latency_ms"], figures["p99_latency_ms"]}
	if r.rate <= 0 || r.p50 <= 0 || r.p99 <= 0 {
		return r, fmt.Errorf("redis-benchmark: figures missing in %q", out)
	}
	return r, nil
}
