package soak

// The results of clients, servers and weir, and the problems found.

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// How long after its end a fault still explains the end of a session: failing and down servers return with a delay, and
// cut sessions end with a delay. The time in which weir was suspended does not count.
const (
	recoveryTime = 10 * time.Second
	tolerance    = 2 * time.Second
)

// minCheckTimeout is the shortest timeout of a check in a random configuration.
const minCheckTimeout = 100 * time.Millisecond

// verifier collects the results of sessions and the problems found.
type verifier struct {
	faultLog     *faultLog
	servers      []serverAddr
	echoes       []string // names of the UDP servers
	flows        []string // names of the UDP listeners
	routes       routeLog
	childServers map[string]bool // child servers: when killed, their kernel closes connections, which looks like a clean end

	mu            sync.Mutex
	pending       []clientResult
	records       map[string][]record
	serverResults map[uint64]serverResult

	outcomes     map[outcome]int
	ends         map[string]map[string]int // records by listener and termination
	routed       map[string]int            // records with a route, by listener
	rejected     map[string]int            // rejected clients by listener
	up, down     map[string]uint64         // bytes in records, by listener
	bytes        uint64                    // bytes that clients have sent and received
	tally        tally                     // datagrams
	slow         map[string]func()         // ends the slow fault of a server
	rebalances   map[string]func()         // ends the rebalance of a cluster
	problems     []string
	problemCount int
}

func newVerifier(l *faultLog, servers []serverAddr, childServers map[string]bool) *verifier {
	return &verifier{
		faultLog: l, servers: servers, childServers: childServers, records: map[string][]record{}, serverResults: map[uint64]serverResult{},
		outcomes: map[outcome]int{}, ends: map[string]map[string]int{}, routed: map[string]int{}, rejected: map[string]int{},
		up: map[string]uint64{}, down: map[string]uint64{}, slow: map[string]func(){}, rebalances: map[string]func(){},
	}
}

// maxWrong limits the problems that are kept; all are counted.
const maxWrong = 60

func (j *verifier) report(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.reportLocked(format, args...)
}

func (j *verifier) reportLocked(format string, args ...any) {
	if j.problemCount++; len(j.problems) < maxWrong {
		j.problems = append(j.problems, fmt.Sprintf(format, args...))
	}
}

func (j *verifier) addRecord(r record) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if r.Phase == "" {
		j.checkEvent(&r)
		return
	}
	if slices.Contains(j.flows, r.Listener) {
		if !j.explainsFlow(&r) {
			j.reportLocked("a flow of %s with server %s ended by %q without a fault", r.Client, r.Server, r.end())
		}
	} else {
		j.records[r.Client] = append(j.records[r.Client], r)
	}
	if j.ends[r.Listener] == nil {
		j.ends[r.Listener] = map[string]int{}
	}
	j.ends[r.Listener][r.end()]++
	if r.Route != "" {
		j.routed[r.Listener]++
	}
	j.up[r.Listener] += r.Up
	j.down[r.Listener] += r.Down
}

// explainsFlow reports whether the end of a flow is one to expect, or has a fault as its cause.
func (j *verifier) explainsFlow(r *record) bool {
	from := j.faultLog.before(r.begun(), tolerance)
	switch r.end() {
	case "relay flow_timeout", "relay responses_complete":
		return true
	case "dial cut_listener_removed", "unanswered cut_listener_removed", "relay cut_listener_removed":
		return j.faultLog.lasted(drainTimeout, from, r.Time, []string{r.Listener}, absent)
	}
	return j.faultLog.any(from, r.Time, append([]string{r.Listener}, j.echoes...), killed, limit)
}

// checkEvent verifies an event on a server, and notes the rebalances of clusters. A check that timed out means that the machine is busy, unless weir was
// suspended during the check, which must then have no verdict. Any other failure needs a fault as its cause.
func (j *verifier) checkEvent(r *record) {
	switch {
	case r.Event == "server_up":
		if over := j.slow[r.Server]; over != nil {
			over()
			delete(j.slow, r.Server)
		}
	case r.Event == "rebalance_begin":
		if j.rebalances[r.Cluster] == nil {
			j.rebalances[r.Cluster] = j.faultLog.beginAt(r.Time, rebalancing, r.Cluster)
		}
	case r.Event == "rebalance_end":
		if over := j.rebalances[r.Cluster]; over != nil {
			over()
			delete(j.rebalances, r.Cluster)
		}
	case r.Event != "server_down":
	case strings.Contains(r.Reason, "timed out") && r.Layer == "checks" && j.faultLog.any(r.Time.Add(-minCheckTimeout), r.Time, []string{"weir"}, suspended):
		j.reportLocked("server %s went down by a check during a suspension of weir (%s)", r.Server, r.Reason)
	case strings.Contains(r.Reason, "timed out"):
		if j.slow[r.Server] == nil {
			j.slow[r.Server] = j.faultLog.beginAt(r.Time, slow, r.Server)
		}
	case !j.faultLog.any(j.faultLog.before(r.Time, tolerance), r.Time, []string{r.Server}, killed, maint, absent, refusing):
		j.reportLocked("server %s went down by %s (%s) without a fault", r.Server, r.Layer, r.Reason)
	}
}

func (j *verifier) addServerResult(v serverResult) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if v.Outcome == outcomeCorrupt || v.Outcome == outcomeEarly && v.ID == 0 || v.Outcome == outcomeStalled || v.Outcome == outcomeOther {
		j.reportLocked("server %s, session %d: %s: %s", j.servers[v.Server].name, v.ID, v.Outcome, v.Detail)
	}
	if v.ID != 0 {
		j.serverResults[v.ID] = v
	}
}

func (j *verifier) addClientResult(p clientResult) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.outcomes[p.outcome]++
	j.bytes += uint64(p.up) + uint64(p.down)
	j.pending = append(j.pending, p)
}

func (j *verifier) addFlow(id uint64, t tally, wrong error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.tally.sent += t.sent
	j.tally.answered += t.answered
	j.tally.lost += t.lost
	j.tally.missing += t.missing
	j.tally.notes = append(j.tally.notes, t.notes...)
	if wrong != nil {
		j.reportLocked("flow %d: %v", id, wrong)
	}
}
