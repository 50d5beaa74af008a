package soak

// The verification of sessions: both sides, weir's record and the faults must agree.

import (
	"fmt"
	"net/netip"
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

// recordTimeout is how long after its end a session's record and the server's result may arrive.
const recordTimeout = 8*time.Second + maxSuspension

// minCheckTimeout is the shortest timeout of a check in a random configuration.
const minCheckTimeout = 100 * time.Millisecond

// verifier collects the results of sessions and the problems found.
type verifier struct {
	faultLog     *faultLog
	servers      []serverAddr
	echoes       []string        // names of the UDP servers
	childServers map[string]bool // child servers: when killed, their kernel closes connections, which looks like a clean end

	mu            sync.Mutex
	pending       []clientResult
	records       map[string][]record
	serverResults map[uint64]serverResult

	outcomes     map[outcome]int
	ends         map[string]map[string]int // records by listener and termination
	rejected     map[string]int            // rejected clients by listener
	up, down     map[string]uint64         // bytes in records, by listener
	bytes        uint64                    // bytes that clients have sent and received
	tally        tally                     // datagrams
	slow         map[string]func()         // ends the slow fault of a server
	problems     []string
	problemCount int
}

func newVerifier(l *faultLog, servers []serverAddr, childServers map[string]bool) *verifier {
	return &verifier{
		faultLog: l, servers: servers, childServers: childServers, records: map[string][]record{}, serverResults: map[uint64]serverResult{},
		outcomes: map[outcome]int{}, ends: map[string]map[string]int{}, rejected: map[string]int{},
		up: map[string]uint64{}, down: map[string]uint64{}, slow: map[string]func(){},
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
	if r.Listener == flowsName {
		if r.end() != "relay flow_timeout" && !j.faultLog.any(j.faultLog.before(r.begun(), tolerance), r.Time, append([]string{flowsName}, j.echoes...), killed, limit) {
			j.reportLocked("a flow of %s with server %s ended by %q without a fault", r.Client, r.Server, r.end())
		}
	} else {
		j.records[r.Client] = append(j.records[r.Client], r)
	}
	if j.ends[r.Listener] == nil {
		j.ends[r.Listener] = map[string]int{}
	}
	j.ends[r.Listener][r.end()]++
	j.up[r.Listener] += r.Up
	j.down[r.Listener] += r.Down
}

// checkEvent verifies an event on a server. A check that timed out means that the machine is busy, unless weir was
// suspended during the check, which must then have no verdict. Any other failure needs a fault as its cause.
func (j *verifier) checkEvent(r *record) {
	switch {
	case r.Event == "server_up":
		if over := j.slow[r.Server]; over != nil {
			over()
			delete(j.slow, r.Server)
		}
	case r.Event != "server_down":
	case strings.Contains(r.Reason, "timed out") && r.Layer == "checks" && j.faultLog.any(r.Time.Add(-minCheckTimeout), r.Time, []string{"weir"}, suspended):
		j.reportLocked("server %s went down by a check during a suspension of weir (%s)", r.Server, r.Reason)
	case strings.Contains(r.Reason, "timed out"):
		if j.slow[r.Server] == nil {
			j.slow[r.Server] = j.faultLog.begin(slow, r.Server)
		}
	case !j.faultLog.any(j.faultLog.before(r.Time, tolerance), r.Time, []string{r.Server}, killed, maint, absent):
		j.reportLocked("server %s went down by %s (%s) without a fault", r.Server, r.Layer, r.Reason)
	}
}

func (j *verifier) addServerResult(v serverResult) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if v.Outcome == outcomeCorrupt || v.Outcome == outcomeEarly || v.Outcome == outcomeStalled || v.Outcome == outcomeOther {
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
	if wrong != nil {
		j.reportLocked("flow %d: %v", id, wrong)
	}
}

// verifyEnded verifies the sessions whose results are complete or overdue. It returns how many remain.
func (j *verifier) verifyEnded(now time.Time) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.pending = slices.DeleteFunc(j.pending, func(p clientResult) bool {
		late := now.Sub(p.ended) > recordTimeout
		r, found := j.recordOf(&p)
		v, serverDone := j.serverResults[p.script.id]
		if !late && (!found || !serverDone && r.Server != "" && p.outcome == outcomeComplete) {
			return false
		}
		if found {
			j.removeRecord(&r)
			delete(j.serverResults, p.script.id)
			if why := j.verify(&p, &r, v, serverDone); why != "" {
				j.reportLocked("%s: client %s; record %q, server %s, up %d, down %d; server %s %s; %s",
					p.describe(), p.outcome, r.end(), r.Server, r.Up, r.Down, v.Outcome, v.Detail, why)
			}
			return true
		}
		if why := j.verifyUnrecorded(&p); why != "" {
			j.reportLocked("%s: client %s; no record; %s", p.describe(), p.outcome, why)
		}
		return true
	})
	return len(j.pending)
}

// unmatchedRecords returns the records that belong to no session.
func (j *verifier) unmatchedRecords() []record {
	j.mu.Lock()
	defer j.mu.Unlock()
	var all []record
	for _, rs := range j.records {
		all = append(all, rs...)
	}
	return all
}

func (p *clientResult) describe() string {
	s := p.script
	return fmt.Sprintf("session %d at %s from %s (%s, %v): echo %v, order %d, up %d, down %d, chunk %d, server reset %d, client reset %d, pause %d, slow %v: %s",
		s.id, p.listener, p.client, p.begun.Format("15:04:05.000"), p.ended.Sub(p.begun).Round(time.Millisecond),
		s.echo, s.order, s.up, s.down, s.chunk, s.serverReset, s.clientReset, s.pause, s.slow, p.detail)
}

// recordOf returns the record of a session: the one with its client address that overlaps with it in time.
func (j *verifier) recordOf(p *clientResult) (record, bool) {
	for _, client := range []netip.AddrPort{p.claimed, p.client} { // its own address if weir has not received the header
		for _, r := range j.records[client.String()] {
			if client.IsValid() && r.begun().Before(j.faultLog.after(p.ended, tolerance)) && r.Time.After(p.begun.Add(-tolerance/4)) {
				return r, true
			}
		}
	}
	return record{}, false
}

func (j *verifier) removeRecord(r *record) {
	key := r.Client
	j.records[key] = slices.DeleteFunc(j.records[key], func(o record) bool { return o.Time.Equal(r.Time) && o.end() == r.end() })
	if len(j.records[key]) == 0 {
		delete(j.records, key)
	}
}

// verifyUnrecorded returns what is wrong with a client without a record, or "". Such a client must have been rejected.
func (j *verifier) verifyUnrecorded(p *clientResult) string {
	since, until := j.faultLog.before(p.begun, tolerance), j.faultLog.after(p.ended, tolerance) // weir may handle it after it has gone
	switch {
	case p.outcome == outcomeRefused:
		if !j.faultLog.any(since, until, []string{p.listener}, absent) {
			return "the listener was present"
		}
		return ""
	case p.server >= 0:
		return "served without a record"
	case p.outcome != outcomeReset && p.outcome != outcomeGaveUp:
		return "neither served nor rejected"
	case j.faultLog.any(since, until, []string{p.listener}, absent):
		return ""
	case !j.faultLog.any(since, until, []string{p.listener}, limit):
		return "no limit that could reject it"
	}
	j.rejected[p.listener]++
	return ""
}

// verify returns what is wrong with a session, or "".
func (j *verifier) verify(p *clientResult, r *record, v serverResult, serverDone bool) string {
	s := &p.script
	done := func(from time.Time, faults ...fault) bool {
		return j.faultLog.any(from, j.faultLog.after(p.ended, tolerance), []string{r.Server}, faults...)
	}
	switch p.outcome {
	case outcomeEarly:
		if j.childServers[r.Server] && done(p.begun, killed) {
			return ""
		}
		return "a truncation that looks like a clean end"
	case outcomeCorrupt, outcomeStalled, outcomeOther, outcomeRefused:
		return "never correct"
	}
	if want := p.claimed; serverDone && v.From.IsValid() {
		if !want.IsValid() {
			want = p.client
		}
		if v.From != want {
			return fmt.Sprintf("the server received %s as the client", v.From)
		}
	}
	clean := strings.HasSuffix(r.Reason, "_closed")
	if clean != (p.outcome == outcomeComplete) && !(p.outcome == outcomeComplete && done(p.begun, killed, kill, maint, absent, slow)) {
		return "client and record disagree"
	}
	if p.outcome == outcomeComplete && (s.serverReset != never || s.clientReset != never) {
		return "a reset that looks like a clean end"
	}
	if clean {
		switch {
		case r.Up != headerSize+uint64(s.up) || r.Down != preambleSize+uint64(s.down):
			return fmt.Sprintf("want %d bytes up and %d down", headerSize+s.up, preambleSize+s.down)
		case serverDone && (v.Outcome != outcomeComplete || v.Up != s.up) && !done(p.begun, killed):
			return "the server has another result"
		case !serverDone && !done(p.begun, killed):
			return "the server has no result"
		}
		return ""
	}
	cluster := []string{r.Server, r.Cluster, p.listener}
	for _, at := range j.servers {
		if fmt.Sprintf("c%d", at.cluster) == r.Cluster {
			cluster = append(cluster, at.name)
		}
	}
	explained := false
	switch r.Reason {
	case "max_sessions", "max_sessions_per_source", "max_session_rate":
		explained = j.faultLog.any(j.faultLog.before(p.begun, tolerance), j.faultLog.after(p.ended, tolerance), []string{p.listener}, limit)
	case "client_reset":
		explained = p.outcome == outcomeGaveUp
	case "server_reset":
		explained = s.serverReset != never || done(p.begun, killed)
	case "cut_server_down":
		explained = done(j.faultLog.before(p.begun, recoveryTime), killed, maint, absent, slow)
	case "cut_server_removed": // a server that returned earlier has taken its sessions back
		explained = j.faultLog.lasted(drainTimeout, p.begun, j.faultLog.after(p.ended, tolerance), []string{r.Server}, absent)
	case "cut_listener_removed":
		explained = j.faultLog.lasted(drainTimeout, p.begun, j.faultLog.after(p.ended, tolerance), []string{p.listener}, absent)
	case "cut_operator":
		explained = done(p.begun, kill)
	case "no_server", "refused", "queue_timeout", "connect_timeout":
		explained = j.faultLog.any(j.faultLog.before(p.begun, recoveryTime), p.ended, cluster, killed, maint, absent, limit, slow)
	}
	if !explained {
		return "unexplained end"
	}
	return ""
}
