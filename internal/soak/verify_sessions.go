package soak

// The verification of sessions: both sides, weir's record and the faults must agree.

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// recordTimeout is how long after its end a session's record and the server's result may arrive.
const recordTimeout = 8*time.Second + maxSuspension

// verifyEnded verifies the sessions whose results are complete or overdue. It returns how many remain.
func (j *verifier) verifyEnded(now time.Time) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.pending = slices.DeleteFunc(j.pending, func(p clientResult) bool {
		late := now.Sub(j.handledUntil(&p)) > recordTimeout-tolerance
		r, found := j.recordOf(&p)
		v, serverDone := j.serverResults[p.script.id]
		if !late && (!found || !serverDone && r.Server != "") {
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
	return fmt.Sprintf("session %d at %s from %s (%s, %v): echo %v, order %d, up %d, down %d, chunk %d, server reset %d, client reset %d, pause %d, slow %v, name %q, hello %d bytes, pause %d at %d: %s",
		s.id, p.listener, p.client, p.begun.Format("15:04:05.000"), p.ended.Sub(p.begun).Round(time.Millisecond),
		s.echo, s.order, s.up, s.down, s.chunk, s.serverReset, s.clientReset, s.pause, s.slow,
		s.hello.name, len(s.hello.bytes), s.hello.pause, s.hello.cut, p.detail)
}

// recordOf returns the record of a session: the one with its client address that overlaps with it in time.
func (j *verifier) recordOf(p *clientResult) (record, bool) {
	own := p.client.String()
	if p.onUnix {
		own = "unix"
	}
	for _, client := range []string{p.claimed.String(), own} { // its own address if weir has not received the header
		for _, r := range j.records[client] {
			if r.begun().Before(j.handledUntil(p)) && r.Time.After(p.begun.Add(-tolerance/4)) {
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
	since, until := j.faultLog.before(p.begun, tolerance), j.handledUntil(p)
	switch {
	case p.outcome == outcomeRefused:
		if !j.faultLog.any(since, until, []string{p.listener}, absent) {
			return "the listener was present"
		}
		return ""
	case p.server >= 0:
		return "served without a record"
	case p.outcome != outcomeReset && p.outcome != outcomeGaveUp && !j.gaveUpWaiting(p):
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
	if why := j.verifyRoute(p, r); why != "" {
		return why
	}
	if p.server >= 0 && j.servers[p.server].name != r.Server {
		return "served by " + j.servers[p.server].name
	}
	ended := p.ended
	if r.Time.After(ended) { // weir was still sending what the client had written
		ended = r.Time
	}
	done := func(from time.Time, faults ...fault) bool {
		return j.faultLog.any(from, j.faultLog.after(ended, tolerance), []string{r.Server}, faults...)
	}
	if (p.outcome == outcomeEarly || p.outcome == outcomeReset && p.onUnix) && j.childServers[r.Server] && done(p.begun, killed) {
		return "" // its kernel has closed the connections
	}
	switch p.outcome {
	case outcomeEarly:
		if !closedGently[r.Reason] {
			return "a truncation that looks like a clean end"
		}
		if r.Down != uint64(greetingSize(s.greeting))+preambleSize+uint64(p.down) && p.server >= 0 {
			return "a gentle close with bytes on their way to the client"
		}
	case outcomeDenied:
		switch {
		case !j.explains(p, &record{Time: r.Time, Server: r.Server, Cluster: r.Cluster, Reason: "server_refused"}):
			return "no server refused"
		case r.Phase == "relay" && r.Up < keptBytes: // with more to send there is no retry; in another phase, no other server was found
			return "a refusal that is none in the record"
		}
		return ""
	case outcomeStalled:
		if !j.gaveUpWaiting(p) {
			return "never correct"
		}
	case outcomeCorrupt, outcomeOther, outcomeRefused:
		return "never correct"
	}
	if serverDone && v.Outcome == outcomeEarly && !closedGently[r.Reason] {
		return "the server received a truncation that looks like a clean end"
	}
	if serverDone && v.Outcome == outcomeEarly && r.Up != s.prefixSize()+uint64(v.Up) {
		return "a gentle close with bytes on their way to the server"
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
	if clean != (p.outcome == outcomeComplete) && !(p.outcome == outcomeComplete && (p.onUnix || closedGently[r.Reason] || done(p.begun, killed, kill, maint, absent, slow, refusing))) {
		return "client and record disagree"
	}
	if p.outcome == outcomeComplete && (s.serverReset != never || s.clientReset != never) {
		return "a reset that looks like a clean end"
	}
	if clean {
		switch {
		case r.Up != s.prefixSize()+uint64(s.up) || r.Down != uint64(greetingSize(s.greeting))+preambleSize+uint64(s.down):
			return fmt.Sprintf("want %d bytes up and %d down", s.prefixSize()+uint64(s.up), uint32(greetingSize(s.greeting))+preambleSize+s.down)
		case serverDone && (v.Outcome != outcomeComplete || v.Up != s.up) && !done(p.begun, killed):
			return "the server has another result"
		case !serverDone && !done(p.begun, killed):
			return "the server has no result"
		}
		return ""
	}
	if !j.explains(p, r) {
		return "unexplained end"
	}
	return ""
}
