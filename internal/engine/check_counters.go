package engine

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	"weir/checks"
	"weir/conf"
	"weir/internal/status"
)

// checkCounters count the results of the checks that run.
type checkCounters struct {
	mu       sync.Mutex
	counted  map[checks.Key]*checkCounter // by this process
	baseline map[checks.Key]*checkCounter // by the old process of an upgrade
	skipped  map[string]uint64            // runs without a result, by reason, of all processes
}

type checkCounter struct {
	passed, failed uint64
	last           *status.LastCheck // immutable; nil = none by this process
	took           time.Duration
	buckets        [len(checkBounds)]uint64 // not cumulative
}

// checkBounds are the upper bounds of the buckets for the durations of checks.
var checkBounds = [...]time.Duration{
	time.Millisecond, 5 * time.Millisecond, 25 * time.Millisecond, 100 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2500 * time.Millisecond, 10 * time.Second,
}

func (t *checkCounters) count(r *checks.Result) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.counted == nil {
		t.counted = map[checks.Key]*checkCounter{}
	}
	key := checks.Key{Cluster: r.Cluster, Server: r.Server, Check: r.Check}
	c := t.counted[key]
	if c == nil {
		c = &checkCounter{}
		t.counted[key] = c
	}
	if r.Pass {
		c.passed++
	} else {
		c.failed++
	}
	c.last = &status.LastCheck{Check: r.Check, At: r.At.Round(time.Millisecond).UTC(), DurationMS: ms(r.Took), Passed: r.Pass}
	c.took += r.Took
	for i, bound := range checkBounds {
		if r.Took <= bound {
			c.buckets[i]++
			break
		}
	}
}

// countSkip counts a run that this host could not do.
func (t *checkCounters) countSkip(reason string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.skipped == nil {
		t.skipped = map[string]uint64{}
	}
	t.skipped[reason]++
}

// skips returns the number of runs that hosts could not do, for every reason.
func (t *checkCounters) skips() (list []status.ReasonCount) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, reason := range checks.ShortageReasons() {
		list = append(list, status.ReasonCount{Reason: reason, Count: t.skipped[reason]})
	}
	return list
}

// ofServer returns the number of failed runs of a server's checks, and the last run with a result; nil = none by this process.
func (t *checkCounters) ofServer(spec *conf.Cluster, server string) (failures uint64, last *status.LastCheck) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range spec.Checks {
		key := checks.Key{Cluster: spec.Name, Server: server, Check: spec.Checks[i].ID}
		if c := t.counted[key]; c != nil {
			failures += c.failed
			if last == nil || last.At.Before(c.last.At) {
				last = new(*c.last)
			}
		}
		if old := t.baseline[key]; old != nil {
			failures += old.failed
		}
	}
	return failures, last
}

// prune drops the counters of checks that have left the configuration.
func (t *checkCounters) prune(jobs map[checks.Key]*job) {
	t.mu.Lock()
	defer t.mu.Unlock()
	left := func(key checks.Key, _ *checkCounter) bool { return jobs[key] == nil }
	maps.DeleteFunc(t.counted, left)
	maps.DeleteFunc(t.baseline, left)
}

// each calls visit with the sums of this process and the old one.
func (t *checkCounters) each(visit func(key checks.Key, sum *checkCounter)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for key, c := range t.counted {
		sum := *c
		if old := t.baseline[key]; old != nil {
			sum.passed += old.passed
			sum.failed += old.failed
			sum.took += old.took
			for i, n := range old.buckets {
				sum.buckets[i] += n
			}
		}
		visit(key, &sum)
	}
	for key, c := range t.baseline {
		if t.counted[key] == nil {
			visit(key, c)
		}
	}
}

// metrics returns the sums by cluster, server and check.
func (t *checkCounters) metrics() []status.CheckMetrics {
	var list []status.CheckMetrics
	t.each(func(key checks.Key, c *checkCounter) {
		list = append(list, status.CheckMetrics{
			Cluster: key.Cluster, Server: key.Server, Check: key.Check, Passed: c.passed, Failed: c.failed,
			Durations: histogram(c.passed+c.failed, c.took, checkBounds[:], c.buckets[:]),
		})
	})
	slices.SortFunc(list, func(a, b status.CheckMetrics) int {
		return cmp.Or(cmp.Compare(a.Cluster, b.Cluster), cmp.Compare(a.Server, b.Server), cmp.Compare(a.Check, b.Check))
	})
	return list
}

// transfer returns the sums for the new process of an upgrade.
func (t *checkCounters) transfer() (list []checkCounts) {
	t.each(func(key checks.Key, c *checkCounter) {
		list = append(list, checkCounts{key.Cluster, key.Server, key.Check, c.passed, c.failed,
			durations{c.passed + c.failed, c.took, checkBounds[:], slices.Clone(c.buckets[:])}})
	})
	return list
}

// setBaseline replaces what the old process has counted, for the checks that run.
func (t *checkCounters) setBaseline(list []checkCounts, jobs map[checks.Key]*job) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.baseline = map[checks.Key]*checkCounter{}
	for i := range list {
		c := &list[i]
		key := checks.Key{Cluster: c.Cluster, Server: c.Server, Check: c.Check}
		if jobs[key] == nil {
			continue
		}
		old := &checkCounter{passed: c.Passed, failed: c.Failed, took: c.Took.Sum}
		c.Took.into(old.buckets[:], checkBounds[:])
		t.baseline[key] = old
	}
}
