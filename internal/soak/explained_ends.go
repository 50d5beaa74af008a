package soak

// Which faults explain which ends of sessions.

import "time"

// closedGently are the reasons for which weir closes a session with a FIN at a quiet moment: every byte has arrived, and
// more would have followed.
var closedGently = map[string]bool{"cut_age": true, "cut_failback": true, "cut_rebalance": true, "cut_drain": true, "cut_server_removed": true}

// explains reports whether a fault explains the end of a session that is not clean.
func (j *verifier) explains(p *clientResult, r *record) bool {
	log, s := j.faultLog, &p.script
	until := j.handledUntil(p)
	if r.Time.After(until) {
		until = r.Time
	}
	done := func(from time.Time, faults ...fault) bool { return log.any(from, until, []string{r.Server}, faults...) }
	inCluster := func(faults ...fault) bool {
		return log.any(log.before(p.begun, recoveryTime), until, []string{r.Cluster}, faults...)
	}
	switch r.Reason {
	case "max_sessions", "max_sessions_per_source", "max_session_rate", "max_session_rate_per_source":
		return log.any(log.before(p.begun, tolerance), until, []string{p.listener}, limit)
	case "client_reset":
		return p.outcome == outcomeGaveUp || j.gaveUpWaiting(p)
	case "client_idle": // the client meant to go on in time
		return s.pause > 0 && log.stalledFor(idleSlack/2, p.begun, p.ended)
	case "preread_timeout", "proxy_timeout": // so did this one
		return log.stalledFor(idleSlack/2, p.begun, p.ended)
	case "server_reset":
		return s.serverReset != never || done(p.begun, killed, refusing)
	case "cut_server_down":
		return done(log.before(p.begun, recoveryTime), killed, maint, absent, slow, refusing)
	case "cut_server_removed": // a server that returned earlier has taken its sessions back
		return log.lasted(drainTimeout, p.begun, until, []string{r.Server}, absent) || inCluster(gentle) && done(p.begun, absent)
	case "cut_listener_removed":
		return log.lasted(drainTimeout, p.begun, until, []string{p.listener}, absent)
	case "cut_operator":
		return done(p.begun, kill)
	case "cut_drain":
		return done(p.begun, maint)
	case "cut_age":
		return inCluster(ageing)
	case "cut_failback":
		return inCluster(failback)
	case "cut_rebalance":
		return inCluster(rebalancing)
	case "server_refused":
		return log.any(p.begun, until, j.subjects(p, r), refusing)
	case "no_server", "refused", "queue_timeout", "connect_timeout", "hold_timeout", "hold_full", "greeting_timeout":
		return log.any(log.before(p.begun, recoveryTime), until, j.subjects(p, r), killed, maint, absent, limit, slow, refusing)
	}
	return false
}

// subjects returns what a session could have depended on: its server, its cluster with all servers, and its listener.
func (j *verifier) subjects(p *clientResult, r *record) []string {
	all := []string{r.Server, r.Cluster, p.listener}
	for _, at := range j.servers {
		if clusterName(at.cluster) == r.Cluster {
			all = append(all, at.name)
		}
	}
	return all
}

// handledUntil returns the time until which weir may handle a client. One that waits in an accept queue is accepted when there
// is room, even if it has gone.
func (j *verifier) handledUntil(p *clientResult) time.Time {
	return j.faultLog.after(j.faultLog.extend(p.begun, p.ended, p.listener, waiting), tolerance)
}

// gaveUpWaiting reports whether a client has waited in an accept queue until it gave up.
func (j *verifier) gaveUpWaiting(p *clientResult) bool {
	return p.outcome == outcomeStalled && p.server < 0 && j.faultLog.lasted(ioTimeout/2, p.begun, p.ended, []string{p.listener}, waiting)
}
