package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// values are the figures of one run, by metric.
type values map[metric]float64

// row is one kind of load.
type row struct {
	name   string // family-point
	family string // rows that differ in one number only, drawn in one plot
	point  int    // that number
	kind   serverKind

	clients   int          // connections that are active at one time
	hogs      int          // processes that spin beside the run
	threads   int          // threads, workers or loops of the proxy; 0 = the option
	sessions  int          // the most sessions that are open at one time, idle ones included
	servers   int          // servers in the cluster
	responses int          // to each datagram, after which a flow is over; 0 = any number
	direct    bool         // whether a run without a proxy is meaningful
	brief     bool         // two thirds of the window are enough
	methods   *methodNames // how servers are chosen; nil = in turn

	drive func(context.Context, *trial) (values, error)
}

// window is how long the row's load lasts in a run, in whole seconds; 0 for rows that measure no time.
func (r row) window(full time.Duration) time.Duration {
	switch {
	case r.family == familyIdle || r.family == familyFlows:
		return 0
	case r.family == familyChecks:
		return checkWindow
	case r.methods != nil:
		return balanceWindow
	case r.brief:
		return max(time.Second, (full * 2 / 3).Round(time.Second))
	}
	return full
}

// fits reports whether a product can run the row, and whether the result is meaningful.
func (r row) fits(product string) bool {
	switch product {
	case direct:
		return r.direct
	case bare:
		return r.direct && r.responses == 0 && r.kind != joiningServer
	case "haproxy":
		// It has no UDP, and for 10,000 checks it wants 26,000 descriptors or does not start.
		return !r.kind.datagrams() && (r.family != familyChecks || r.servers <= 1000)
	case "nginx":
		return r.family != familyChecks // it has no checks of its own accord
	}
	return true
}

// The families of rows.
const (
	familyRequests = "requests"
	familyBusy     = "busy"   // requests beside one spinning process
	familyBusier   = "busier" // requests beside two
	familySingle   = "single" // requests through one thread
	familyShort    = "short"
	familyShortB   = "short-busy"
	familyBulk     = "bulk"
	familyIperf    = "bulk-iperf3"
	familyPump     = "bulk-pump"
	familyIdle     = "idle"
	familyServers  = "servers"
	familySessions = "sessions"
	familyChecks   = "checks"
	familyBalance  = "balance"     // one of ten servers becomes slow; peers use least connections
	familyBalance2 = "balance-two" // the same; peers choose the better one of two at random

	familyDatagrams = "udp-64"
	familyLarge     = "udp-1200"
	familyJoined    = "udp-joined-64"
	familyLargeJ    = "udp-joined-1200"
	familyBursts    = "udp-bursts-64"
	familyLargeB    = "udp-bursts-1200"
	familyNewFlows  = "udp-new"
	familySteady    = "udp-steady"
	familyFlows     = "udp-idle"
)

// family is what the rows of a family have in common in tables and plots.
type family struct {
	name    string
	title   string
	axis    string // what the point counts
	metrics []metric
	growth  bool // the question is how cost grows from the first point to the last
}

func families() []family {
	rates := []metric{metricRate, metricCPU}
	latencies := []metric{metricRate, metricCPU, metricP50, metricP99}
	return []family{
		{familyRequests, "Redis GET, no pipelining", "clients", slices.Concat(latencies, costMetrics()), false},
		{familyBusy, "Redis GET beside one spinning process", "clients", slices.Concat(latencies, costMetrics()), false},
		{familyBusier, "Redis GET beside two spinning processes", "clients", slices.Concat(latencies, costMetrics()), false},
		{familySingle, "Redis GET through one thread, worker or loop", "clients", slices.Concat(latencies, costMetrics()), false},
		{familyShort, "Short connections", "at a time", slices.Concat(rates, costMetrics()), false},
		{familyShortB, "Short connections beside one spinning process", "at a time", slices.Concat(rates, costMetrics()), false},
		{familyBulk, "Bulk streams", "streams", []metric{metricBulk, metricBulkCPU}, false},
		{familyIperf, "Bulk streams of iperf3", "streams", []metric{metricBulk, metricBulkCPU}, false},
		{familyPump, "Bulk streams within one batch-scheduled process", "streams", []metric{metricBulk, metricBulkCPU}, false},
		{familyIdle, "Idle sessions", "sessions", []metric{metricMemory, metricDescriptors}, true},
		{familyServers, "Short connections against servers in the cluster", "servers", []metric{metricRate, metricCPU}, true},
		{familyChecks, "Checks of servers every 2 s, then all of them gone", "servers", []metric{metricCores, metricVerdict, metricVerdicts}, true},
		{familyBalance, "Sessions while one of the servers is three times slower; peers use least connections", "servers", []metric{metricP50, metricP99, metricCPU}, false},
		{familyBalance2, "Sessions while one of the servers is three times slower; peers choose the better of two", "servers", []metric{metricP50, metricP99, metricCPU}, false},
		{familySessions, "Redis GET, 50 clients, beside idle sessions", "sessions", []metric{metricRate, metricCPU}, true},
		{familyDatagrams, "UDP echo, 64 bytes, every answer followed by the next at once", "clients", []metric{metricRate, metricCPU, metricLost}, false},
		{familyLarge, "UDP echo, 1,200 bytes, every answer followed by the next at once", "clients", []metric{metricRate, metricCPU, metricLost}, false},
		{familyJoined, "UDP echo, 64 bytes, joined on their way between clients and proxy and server", "clients", []metric{metricRate, metricCPU, metricLost}, false},
		{familyLargeJ, "UDP echo, 1,200 bytes, joined on their way between clients and proxy and server", "clients", []metric{metricRate, metricCPU, metricLost}, false},
		{familyBursts, "UDP echo, 64 bytes, in bursts", "clients", []metric{metricRate, metricCPU, metricLost}, false},
		{familyLargeB, "UDP echo, 1,200 bytes, in bursts", "clients", []metric{metricRate, metricCPU, metricLost}, false},
		{familyNewFlows, "UDP, a new client for every datagram", "at a time", []metric{metricRate, metricCPU, metricLost}, false},
		{familySteady, "UDP echo, 64 bytes, 16 clients that ask at a steady rate", "per second", []metric{metricCPU, metricLost}, false},
		{familyFlows, "Idle UDP flows", "flows", []metric{metricMemory, metricDescriptors}, true},
	}
}

// rows lists every row in the order of the table.
func rows() []row {
	var all []row
	add := func(family string, points []int, make func(point int) row) {
		for _, point := range points {
			r := make(point)
			r.family, r.point, r.name = family, point, fmt.Sprintf("%s-%d", family, point)
			all = append(all, r)
		}
	}
	add(familyRequests, []int{1}, func(n int) row {
		return row{kind: redisServer, clients: n, sessions: n, servers: 1, direct: true, drive: oneClient}
	})
	add(familyRequests, []int{50, 500}, func(n int) row {
		return row{kind: redisServer, clients: n, sessions: n, servers: 1, direct: true, drive: requests}
	})
	for hogs, family := range []string{familySingle, familyBusy, familyBusier} {
		threads := 0
		if family == familySingle {
			threads = 1
		}
		add(family, []int{1, 50}, func(n int) row {
			drive := requests
			if n == 1 {
				drive = oneClient
			}
			return row{kind: redisServer, clients: n, sessions: n, servers: 1, direct: true, brief: true, hogs: hogs, threads: threads, drive: drive}
		})
	}
	for hogs, family := range []string{familyShort, familyShortB} {
		add(family, []int{100}, func(n int) row {
			return row{kind: webServer, clients: n, sessions: n, servers: 1, direct: true, hogs: hogs, drive: shortConnections}
		})
	}
	for _, load := range []row{
		{family: familyBulk, kind: sourceServer, drive: bulk},
		{family: familyIperf, kind: iperfServer, drive: iperf, brief: true},
		{family: familyPump, kind: noServer, drive: pump, brief: true},
	} {
		add(load.family, []int{1, 4, 32}, func(n int) row {
			return row{kind: load.kind, drive: load.drive, clients: n, sessions: n + 1, servers: 1, direct: true, brief: load.brief}
		})
	}
	add(familyIdle, []int{1000, 9000}, func(n int) row {
		return row{kind: redisServer, sessions: n, servers: 1, drive: idle}
	})
	add(familyServers, []int{1, 10, 100, 1000}, func(n int) row {
		return row{kind: webServer, clients: 100, sessions: 100, servers: n, brief: true, drive: shortConnections}
	})
	add(familySessions, []int{100, 1000, 9000}, func(n int) row {
		return row{kind: redisServer, clients: 50, sessions: n, servers: 1, brief: true, drive: requestsBesideIdle}
	})
	udp := func(family string, size int, more ...string) {
		add(family, []int{16, 1000}, func(n int) row {
			return row{kind: echoServer, clients: n, sessions: n, servers: 1, direct: true, drive: datagrams(size, more...)}
		})
	}
	udp(familyDatagrams, 64)
	udp(familyLarge, 1200)
	joined := func(family string, size int) {
		add(family, []int{16}, func(n int) row {
			return row{kind: joiningServer, clients: n, sessions: n, servers: 1, direct: true, drive: datagrams(size, "-joined")}
		})
	}
	joined(familyJoined, 64)
	joined(familyLargeJ, 1200)
	udp(familyBursts, 64, "-bursts")
	udp(familyLargeB, 1200, "-bursts")
	add(familyNewFlows, []int{16}, func(n int) row {
		return row{kind: echoServer, clients: n, sessions: n, servers: 1, responses: 1, direct: true, drive: datagrams(64, "-fresh")}
	})
	add(familySteady, []int{10000, 20000}, func(n int) row {
		return row{kind: echoServer, clients: 16, sessions: 16, servers: 1, direct: true, drive: datagrams(64, "-rate", strconv.Itoa(n))}
	})
	add(familyFlows, []int{1000, 9000}, func(n int) row {
		return row{kind: echoServer, sessions: n, servers: 1, drive: idleFlows}
	})
	for i, family := range []string{familyBalance, familyBalance2} {
		add(family, []int{balanceScenario().servers}, func(n int) row {
			return row{kind: queueServer, servers: n, sessions: 2000, methods: []*methodNames{leastConnections, bestOfTwo}[i], drive: balanceSessions}
		})
	}
	add(familyChecks, []int{1000, 10000}, func(n int) row {
		return row{kind: openServer, servers: n, drive: checkServers}
	})
	return all
}

// selectRows returns the rows whose name or family is in a comma-separated list; "all" is every row.
func selectRows(list string) ([]row, error) {
	if list == "all" {
		return rows(), nil
	}
	var chosen []row
	wanted := map[string]bool{}
	for name := range strings.SplitSeq(list, ",") {
		wanted[strings.TrimSpace(name)] = false
	}
	for _, r := range rows() {
		_, byName := wanted[r.name]
		_, byFamily := wanted[r.family]
		if byName || byFamily {
			chosen = append(chosen, r)
		}
		for _, name := range []string{r.name, r.family} {
			if _, ok := wanted[name]; ok {
				wanted[name] = true
			}
		}
	}
	for name, known := range wanted {
		if !known {
			return nil, fmt.Errorf("unknown row %q: -list names them", name)
		}
	}
	return chosen, nil
}
