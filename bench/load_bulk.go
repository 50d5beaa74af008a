package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
)

// bulk reads from the source server over a few streams as fast as it can.
func bulk(ctx context.Context, t *trial) (values, error) {
	load, err := t.measure(ctx, []string{
		t.self, "bulk", "-target", t.target, "-streams", strconv.Itoa(t.row.clients), "-for", t.window.String(),
	})
	if err != nil {
		return nil, err
	}
	var result bulkResult
	if err := json.Unmarshal(load.out, &result); err != nil {
		return nil, fmt.Errorf("bulk: %w in %q", err, load.out)
	}
	gigabytes := float64(result.Bytes) / 1e9
	if gigabytes == 0 {
		return nil, fmt.Errorf("bulk: nothing was received")
	}
	v := values{metricBulk: gigabytes / result.Seconds}
	if t.proxy != nil {
		v[metricBulkCPU] = micros(load.cpu) / 1000 / gigabytes
	}
	return v, nil
}
