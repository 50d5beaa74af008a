package checks

import (
	"context"
	"strings"
	"sync"
)

// addresses returns the addresses of the target.
func (t *Target) addresses() []string {
	return append([]string{t.Address}, strings.Fields(t.More)...)
}

// testAddresses tests all addresses of a target at the same time. The result is the best one: a pass, else a shortage, which
// leaves the answer open, else full, standby and failed. Among equal ones it is that of the first address. failed are the
// addresses that have not passed, if the target has several.
func testAddresses(ctx context.Context, job *Job) (report Report, failed []string, err error) {
	if job.Target.More == "" {
		report, err = callMonitor(ctx, job.Monitor, job.Target)
		return report, nil, err
	}
	addresses := job.Target.addresses()
	type result struct {
		report Report
		err    error
	}
	results := make([]result, len(addresses))
	var wait sync.WaitGroup
	for i, address := range addresses {
		wait.Go(func() {
			t := job.Target
			t.Address, t.More = address, ""
			results[i].report, results[i].err = callMonitor(ctx, job.Monitor, t)
		})
	}
	wait.Wait()
	rank := func(err error) int {
		switch {
		case err == nil:
			return -2
		case IsShortage(err):
			return -1
		}
		return int(outcomeOf(err))
	}
	best := &results[0]
	for i := range results {
		r := &results[i]
		if r.err != nil && !IsShortage(r.err) {
			failed = append(failed, addresses[i])
		}
		if rank(r.err) < rank(best.err) {
			best = r
		}
	}
	return best.report, failed, best.err
}
