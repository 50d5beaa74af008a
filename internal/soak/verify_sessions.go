package soak

// Whether what became of a session is right: both sides, weir's own record and what was done meanwhile have to agree.

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// How long after something was done it still explains an end: failing and down servers take a moment to come back, and
// so do sessions that were cut to notice.
const (
	aftermath = 10 * time.Second
	moment    = 2 * time.Second
)

// recordPatience is how long after its end a session's record and the server's word may take.
const recordPatience = 8 * time.Second

// judge collects what is known of sessions, and what is wrong with them.
type judge struct {
	ledger  *ledger
	servers []place
	echoes  []string        // the names of the servers of flows
	mortal  map[string]bool // servers whose death looks like a clean end, because a kernel closes for them

	mu      sync.Mutex
	pending []passage
	records map[string][]record
	visits  map[uint64]visit

	outcomes map[outcome]int
	ends     map[string]map[string]int // by listener and end, of records
	refused  map[string]int            // by listener: clients without a session
	up, down map[string]uint64         // by listener, of records
	bytes    uint64                    // that clients have seen come and go
	tally    tally                     // of datagrams
	slow     map[string]func()         // what ends the entry of a server that is called slow
	wrong    []string
	wrongs   int
}

func newJudge(l *ledger, servers []place, mortal map[string]bool) *judge {
	return &judge{
		ledger: l, servers: servers, mortal: mortal, records: map[string][]record{}, visits: map[uint64]visit{},
		outcomes: map[outcome]int{}, ends: map[string]map[string]int{}, refused: map[string]int{},
		up: map[string]uint64{}, down: map[string]uint64{}, slow: map[string]func(){},
	}
}

// maxWrong bounds the complaints that are kept; more are counted.
const maxWrong = 60

func (j *judge) complain(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.note(format, args...)
}

func (j *judge) note(format string, args ...any) {
	if j.wrongs++; len(j.wrong) < maxWrong {
		j.wrong = append(j.wrong, fmt.Sprintf(format, args...))
	}
}

func (j *judge) addRecord(r record) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if r.Phase == "" {
		j.event(&r)
		return
	}
	if r.Listener == flowsName {
		if r.end() != "relay flow_timeout" && !j.ledger.any(r.begun().Add(-moment), r.Time, append([]string{flowsName}, j.echoes...), death, limit) {
			j.note("a flow of %s with server %s ended by %q, and nothing explains it", r.Client, r.Server, r.end())
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

// event takes in what weir has found out about a server. A check whose time ran out tells of a busy machine; any other bad
// word about a server needs a reason in the ledger.
func (j *judge) event(r *record) {
	switch {
	case r.Event == "server_up":
		if over := j.slow[r.Server]; over != nil {
			over()
			delete(j.slow, r.Server)
		}
	case r.Event != "server_down":
	case strings.Contains(r.Reason, "timed out"):
		if j.slow[r.Server] == nil {
			j.slow[r.Server] = j.ledger.begin(slow, r.Server)
		}
	case !j.ledger.any(r.Time.Add(-moment), r.Time, []string{r.Server}, death, maint, absence):
		j.note("server %s is called down by %s (%s), and nothing was done to it", r.Server, r.Layer, r.Reason)
	}
}

func (j *judge) addVisit(v visit) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if v.Outcome == corrupt || v.Outcome == early || v.Outcome == stalled || v.Outcome == strange {
		j.note("server %s, session %d: %s: %s", j.servers[v.Server].name, v.ID, v.Outcome, v.Detail)
	}
	if v.ID != 0 {
		j.visits[v.ID] = v
	}
}

func (j *judge) addPassage(p passage) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.outcomes[p.outcome]++
	j.bytes += uint64(p.up) + uint64(p.down)
	j.pending = append(j.pending, p)
}

func (j *judge) addFlow(id uint64, t tally, wrong error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.tally.sent += t.sent
	j.tally.answered += t.answered
	j.tally.lost += t.lost
	j.tally.missing += t.missing
	if wrong != nil {
		j.note("flow %d: %v", id, wrong)
	}
}

// settle judges the sessions of which all is known, or all that will ever be. It returns how many are left.
func (j *judge) settle(now time.Time) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.pending = slices.DeleteFunc(j.pending, func(p passage) bool {
		late := now.Sub(p.ended) > recordPatience
		r, found := j.recordOf(&p)
		v, visited := j.visits[p.script.id]
		if !late && (!found || !visited && r.Server != "" && p.outcome == complete) {
			return false
		}
		if found {
			j.taken(&r)
			delete(j.visits, p.script.id)
			if why := j.fault(&p, &r, v, visited); why != "" {
				j.note("%s: client %s; record %q, server %s, up %d, down %d; server %s %s; %s",
					p.describe(), p.outcome, r.end(), r.Server, r.Up, r.Down, v.Outcome, v.Detail, why)
			}
			return true
		}
		if why := j.unrecorded(&p); why != "" {
			j.note("%s: client %s; no record; %s", p.describe(), p.outcome, why)
		}
		return true
	})
	return len(j.pending)
}

// left is how many records belong to nobody.
func (j *judge) left() []record {
	j.mu.Lock()
	defer j.mu.Unlock()
	var all []record
	for _, rs := range j.records {
		all = append(all, rs...)
	}
	return all
}

func (p *passage) describe() string {
	s := p.script
	return fmt.Sprintf("session %d at %s from %s (%s, %v): echo %v, order %d, up %d, down %d, chunk %d, server reset %d, client reset %d, pause %d, slow %v: %s",
		s.id, p.listener, p.client, p.begun.Format("15:04:05.000"), p.ended.Sub(p.begun).Round(time.Millisecond),
		s.echo, s.order, s.up, s.down, s.chunk, s.serverReset, s.clientReset, s.pause, s.slow, p.detail)
}

// recordOf finds the record of a session: the one of its client's address that was made while it lasted.
func (j *judge) recordOf(p *passage) (record, bool) {
	for _, client := range []netip.AddrPort{p.claimed, p.client} { // itself if the header has not come
		for _, r := range j.records[client.String()] {
			if client.IsValid() && r.begun().Before(p.ended.Add(moment)) && r.Time.After(p.begun.Add(-moment/4)) {
				return r, true
			}
		}
	}
	return record{}, false
}

func (j *judge) taken(r *record) {
	key := r.Client
	j.records[key] = slices.DeleteFunc(j.records[key], func(o record) bool { return o.Time.Equal(r.Time) && o.end() == r.end() })
	if len(j.records[key]) == 0 {
		delete(j.records, key)
	}
}

// unrecorded says what is wrong with a client of which weir has no record: it must have been turned away.
func (j *judge) unrecorded(p *passage) string {
	since, until := p.begun.Add(-moment), p.ended.Add(moment) // weir may come to it after it has gone
	switch {
	case p.outcome == refused:
		if !j.ledger.any(since, until, []string{p.listener}, absence) {
			return "the listener was there"
		}
		return ""
	case p.server >= 0:
		return "it was served"
	case p.outcome != reset && p.outcome != gaveUp:
		return "it was neither served nor turned away"
	case j.ledger.any(since, until, []string{p.listener}, absence):
		return ""
	case !j.ledger.any(since, until, []string{p.listener}, limit):
		return "no limit was there to turn it away"
	}
	j.refused[p.listener]++
	return ""
}

// fault says what is wrong with a session; "" = nothing.
func (j *judge) fault(p *passage, r *record, v visit, visited bool) string {
	s := &p.script
	done := func(from time.Time, deeds ...deed) bool {
		return j.ledger.any(from, p.ended.Add(moment), []string{r.Server}, deeds...)
	}
	switch p.outcome {
	case early:
		if j.mortal[r.Server] && done(p.begun, death) {
			return ""
		}
		return "a truncation that looks like a clean end"
	case corrupt, stalled, strange, refused:
		return "never right"
	}
	if want := p.claimed; visited && v.From.IsValid() {
		if !want.IsValid() {
			want = p.client
		}
		if v.From != want {
			return fmt.Sprintf("the server was told that it is for %s", v.From)
		}
	}
	clean := strings.HasSuffix(r.Reason, "_closed")
	if clean != (p.outcome == complete) && !(p.outcome == complete && done(p.begun, death, kill, maint, absence, slow)) {
		return "the two do not agree"
	}
	if p.outcome == complete && (s.serverReset != never || s.clientReset != never) {
		return "a reset that looks like a clean end"
	}
	if clean {
		switch {
		case r.Up != headerSize+uint64(s.up) || r.Down != preambleSize+uint64(s.down):
			return fmt.Sprintf("want %d bytes up and %d down", headerSize+s.up, preambleSize+s.down)
		case visited && (v.Outcome != complete || v.Up != s.up) && !done(p.begun, death):
			return "the server saw something else"
		case !visited && !done(p.begun, death):
			return "the server has not seen it"
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
		explained = j.ledger.any(p.begun.Add(-moment), p.ended.Add(moment), []string{p.listener}, limit)
	case "client_reset":
		explained = p.outcome == gaveUp
	case "server_reset":
		explained = s.serverReset != never || done(p.begun, death)
	case "cut_server_down":
		explained = done(p.begun.Add(-aftermath), death, maint, absence, slow)
	case "cut_server_removed":
		explained = done(p.begun, absence)
	case "cut_listener_removed":
		explained = j.ledger.any(p.begun, p.ended.Add(moment), []string{p.listener}, absence)
	case "cut_operator":
		explained = done(p.begun, kill)
	case "no_server", "refused", "queue_timeout", "connect_timeout":
		explained = j.ledger.any(p.begun.Add(-aftermath), p.ended, cluster, death, maint, absence, limit, slow)
	}
	if !explained {
		return "nothing explains this end"
	}
	return ""
}
