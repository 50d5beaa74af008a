package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"strconv"
	"time"
)

// The family balance, live: what the simulation of methods shows (simulate.go), with real proxies, connections and clocks.

// balanceScenario is the load of the family: ten servers of two workers, the first of which becomes three times slower.
func balanceScenario() scenario {
	return scenario{
		servers: 10, workers: 2, service: 20 * time.Millisecond, load: 0.6, slow: 1, factor: 3,
		from: 3 * time.Second, length: balanceWindow, seed: 7,
	}
}

const (
	balanceWindow = 15 * time.Second
	// noticeTime is how long a method may take to notice that a server has become slower.
	noticeTime = 2 * time.Second
)

// methodNames are a balancing method's name in each product.
type methodNames struct{ haproxy, nginx, weir string }

// The methods compared: weir's against each of the peers' that look at the servers' load.
var (
	leastConnections = &methodNames{"leastconn", "least_conn", "least_time"}
	bestOfTwo        = &methodNames{"random(2)", "random two least_conn", "least_time"}
)

// balanceSessions opens sessions at random times, as many as 60 % of the servers' capacity, and measures those that begin when
// the proxy has had time to notice the slow server.
func balanceSessions(ctx context.Context, t *trial) (values, error) {
	sc := balanceScenario()
	load, err := t.measure(ctx, []string{
		t.self, "arrivals", "-target", t.target, "-per-second", strconv.Itoa(sc.perSecond()), "-slow-after", sc.from.String(),
		"-notice", noticeTime.String(), "-for", t.window.String(),
	})
	if err != nil {
		return nil, err
	}
	var result arrivalsResult
	if err := json.Unmarshal(load.out, &result); err != nil {
		return nil, fmt.Errorf("arrivals: %w in %q", err, load.out)
	}
	t.notes.Failures = result.Failures
	v := values{metricP50: result.P50, metricP99: result.P99}
	if t.proxy != nil {
		v[metricCPU] = micros(load.cpu) / float64(result.Sessions)
	}
	return v, nil
}

// perSecond returns the mean rate of arrivals.
func (sc scenario) perSecond() int {
	return int(sc.load * float64(sc.servers*sc.workers) / sc.service.Seconds())
}

// queueCommand is the command of the servers of the family balance.
func queueCommand(self string, addresses []string, port int) []string {
	sc := balanceScenario()
	first, _, _ := net.SplitHostPort(addresses[0])
	return []string{
		self, "queue", "-first", first, "-port", strconv.Itoa(port), "-servers", strconv.Itoa(len(addresses)),
		"-workers", strconv.Itoa(sc.workers), "-service", sc.service.String(), "-factor", strconv.FormatFloat(sc.factor, 'g', -1, 64),
	}
}
