package soak

// The verification of sessions: both sides, weir's record and the faults must agree.

import (
	"fmt"
	"net/netip"
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
