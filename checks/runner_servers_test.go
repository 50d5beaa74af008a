package checks

import (
	"context"
	"errors"
	"sync"
	"time"

	"weir/conf"
)

var errSick = errors.New("sick")

// testServers is a set of servers for a runner. It records when each was tested, and the results.
type testServers struct {
	mu         sync.Mutex
	errs       map[string]error // result of the next checks, by server
	duration   time.Duration    // how long each check takes
	started    map[string][]time.Time
	running    map[string]int
	overlap    bool
	maxRunning int // most checks running at the same time
	results    []Result
}

func newTestServers() *testServers {
	return &testServers{errs: map[string]error{}, started: map[string][]time.Time{}, running: map[string]int{}}
}

func (w *testServers) monitor(ctx context.Context, t Target) (Report, error) {
	w.mu.Lock()
	w.started[t.Server] = append(w.started[t.Server], time.Now())
	w.running[t.Server]++
	w.overlap = w.overlap || w.running[t.Server] > 1
	all := 0
	for _, n := range w.running {
		all += n
	}
	w.maxRunning = max(w.maxRunning, all)
	err, took := w.errs[t.Server], w.duration
	w.mu.Unlock()
	if took > 0 {
		select {
		case <-time.After(took):
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	w.mu.Lock()
	w.running[t.Server]--
	w.mu.Unlock()
	return Report{Detail: "well"}, err
}

func (w *testServers) result(r Result) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.results = append(w.results, r)
}

func (w *testServers) set(server string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.errs[server] = err
}

func (w *testServers) times(server string) []time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]time.Time(nil), w.started[server]...)
}

func (w *testServers) recorded() []Result {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]Result(nil), w.results...)
}

func (w *testServers) job(server string) Job {
	return Job{
		Monitor: w.monitor, Identity: server,
		Target: Target{Cluster: "c", Server: server, Address: server},
		Spec:   conf.Check{ID: "tcp", Interval: 2 * time.Second, Timeout: time.Second, Rise: 2, Fall: 3},
	}
}

func key(server string) Key { return Key{"c", server, "tcp"} }
