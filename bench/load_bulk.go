package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strconv"
)

// bulk reads from the source server over a few streams as fast as it can.
func bulk(ctx context.Context, t *trial) (values, error) {
	return t.bulkFigures(ctx, t.self, "bulk", "-target", t.target, "-streams", strconv.Itoa(t.row.clients), "-for", t.window.String())
}

// pump sends and receives in one process. The kernel schedules it in batches, so it gives way to a proxy that has work.
func pump(ctx context.Context, t *trial) (values, error) {
	return t.bulkFigures(ctx, "chrt", "--batch", "0", t.self, "pump",
		"-listen", t.serverAddress, "-target", t.target, "-streams", strconv.Itoa(t.row.clients), "-for", t.window.String())
}

// bulkFigures runs a load generator that prints a bulkResult.
func (t *trial) bulkFigures(ctx context.Context, argv ...string) (values, error) {
	load, err := t.measure(ctx, argv)
	if err != nil {
		return nil, err
	}
	var result bulkResult
	if err := json.Unmarshal(load.out, &result); err != nil {
		return nil, fmt.Errorf("bulk: %w in %q", err, load.out)
	}
	return t.bulkValues(load, float64(result.Bytes), result.Seconds)
}

// iperf sends from iperf3 to an iperf3 server.
func iperf(ctx context.Context, t *trial) (values, error) {
	host, port, _ := net.SplitHostPort(t.target)
	load, err := t.measure(ctx, []string{
		"iperf3", "-c", host, "-p", port, "-P", strconv.Itoa(t.row.clients), "-t", fmt.Sprintf("%.0f", t.window.Seconds()), "-J",
	})
	if err != nil {
		return nil, err
	}
	bytes, seconds, err := parseIperf(load.out)
	if err != nil {
		return nil, err
	}
	return t.bulkValues(load, bytes, seconds)
}

// parseIperf takes the bytes received and their time from the JSON document of "iperf3 -J".
func parseIperf(out []byte) (bytes, seconds float64, err error) {
	var result struct {
		End struct {
			Received struct {
				Bytes   float64 `json:"bytes"`
				Seconds float64 `json:"seconds"`
			} `json:"sum_received"`
		} `json:"end"`
		Error string `json:"error"`
	}
	if err := json.Unmarshal(out, &result); err != nil {
		return 0, 0, fmt.Errorf("iperf3: %w", err)
	}
	if result.Error != "" {
		return 0, 0, fmt.Errorf("iperf3: %s", result.Error)
	}
	return result.End.Received.Bytes, result.End.Received.Seconds, nil
}

func (t *trial) bulkValues(load measured, bytes, seconds float64) (values, error) {
	gigabytes := bytes / 1e9
	if gigabytes == 0 || seconds == 0 {
		return nil, errors.New("bulk: nothing was received")
	}
	v := values{metricBulk: gigabytes / seconds}
	if t.proxy != nil {
		v[metricBulkCPU] = micros(load.cpu) / 1000 / gigabytes
	}
	return v, nil
}
