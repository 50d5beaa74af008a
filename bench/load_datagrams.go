package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
)

// windowOf returns how many datagrams each client has in flight: few enough in total that no buffer is full.
func windowOf(flows int) int { return max(1, 256/flows) }

// datagrams measures round trips through an echo server.
func datagrams(size int, more ...string) func(context.Context, *trial) (values, error) {
	return func(ctx context.Context, t *trial) (values, error) {
		window := windowOf(t.row.clients)
		if t.row.responses == 1 {
			window = 1 // a client ends with its reply
		}
		argv := append([]string{
			t.self, "datagrams", "-target", t.target, "-flows", strconv.Itoa(t.row.clients),
			"-window", strconv.Itoa(window), "-size", strconv.Itoa(size), "-for", t.window.String(),
		}, more...)
		load, err := t.measure(ctx, argv)
		if err != nil {
			return nil, err
		}
		var result datagramResult
		if err := json.Unmarshal(load.out, &result); err != nil {
			return nil, fmt.Errorf("datagrams: %w in %q", err, load.out)
		}
		if result.Trips == 0 {
			return nil, fmt.Errorf("datagrams: no reply")
		}
		t.notes.Failures = int(result.Lost)
		v := values{metricRate: float64(result.Trips) / result.Seconds}
		if t.proxy != nil {
			v[metricCPU] = micros(load.cpu) / float64(result.Trips)
			v[metricLost] = float64(result.Lost)
		}
		return v, nil
	}
}

// idleFlows opens silent flows and measures what they cost the proxy over its own empty state.
func idleFlows(ctx context.Context, t *trial) (values, error) {
	if err := t.settle(ctx); err != nil {
		return nil, err
	}
	return t.costOf(ctx, t.holdFlows)
}
