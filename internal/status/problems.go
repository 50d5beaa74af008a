package status

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Severities of a Problem.
const (
	Critical = "critical" // clients are rejected, or nearly so
	Warning  = "warning"  // clients are served with reduced capacity
	Note     = "note"     // an operator asked for it
)

// Problem is one condition that an operator should know of. The API, the dashboard and the command line show the same text.
type Problem struct {
	Severity string     `json:"severity"` // critical, warning or note
	Cluster  string     `json:"cluster,omitempty"`
	Servers  []string   `json:"servers,omitempty"` // the first servers concerned, at most maxServersNamed
	Text     string     `json:"text"`
	Reason   string     `json:"reason,omitempty"` // of the first server, or the error of a failed reload
	Since    *time.Time `json:"since,omitempty"`
}

// maxServersNamed is the number of servers that a problem names.
const maxServersNamed = 3

// FindProblems sets Problems from the other fields, worst first. Their number per cluster does not grow with its servers.
func (d *Document) FindProblems() {
	list := []Problem{}
	if d.Stopping {
		list = append(list, Problem{Severity: Critical, Text: "stopping: new clients are rejected"})
	}
	switch {
	case d.MaxSessions > 0 && d.Sessions >= d.MaxSessions:
		list = append(list, Problem{Severity: Critical, Text: fmt.Sprintf("%d of %d sessions in use: new clients are rejected", d.Sessions, d.MaxSessions)})
	case d.MaxSessions > 0 && d.Sessions >= d.MaxSessions/10*9:
		list = append(list, Problem{Severity: Warning, Text: fmt.Sprintf("%d of %d sessions in use", d.Sessions, d.MaxSessions)})
	}
	list = append(list, d.vipProblems()...)
	list = append(list, d.Promotion.problems()...)
	if d.Config.LastError != "" {
		list = append(list, Problem{Severity: Warning, Text: "last reload failed: the previous configuration is in force",
			Reason: d.Config.LastError, Since: d.Config.LastErrorAt})
	}
	if n := len(d.Config.StaleFiles); n > 0 {
		p := Problem{Severity: Warning, Text: "configuration on disk is newer: reload again", Reason: d.Config.StaleFiles[0], Since: &d.Config.LoadedAt}
		if n > 1 {
			p.Reason += fmt.Sprintf(" and %d more", n-1)
		}
		list = append(list, p)
	}
	if f := d.StateFile; f != nil && f.LastError != "" {
		list = append(list, Problem{Severity: Warning, Text: "cannot write state file: a restart would lose overrides and runtime changes",
			Reason: f.LastError, Since: f.SavedAt})
	}
	if f := d.StateFile; f != nil && f.SetAside != "" {
		list = append(list, Problem{Severity: Note, Text: "state file was invalid at startup", Reason: "moved to " + f.SetAside})
	}
	if d.Fleet != nil {
		list = append(list, d.Fleet.problems()...)
	}
	for i := range d.Hooks {
		if h := &d.Hooks[i]; h.Failing {
			list = append(list, Problem{Severity: Warning, Text: fmt.Sprintf("event hook %s fails: %d events dropped", h.Name, h.Dropped),
				Reason: h.LastError, Since: h.LastErrorAt})
		}
	}
	list = append(list, d.SharedConfig.problems()...)
	waiting := map[string]int{}
	for i := range d.Listeners {
		waiting[d.Listeners[i].Name] += d.Listeners[i].Waiting
	}
	for _, name := range slices.Sorted(maps.Keys(waiting)) {
		if n := waiting[name]; n > 0 {
			list = append(list, Problem{Severity: Warning, Text: fmt.Sprintf("listener %s is full: %d %s", name, n, clientsWait(n))})
		}
	}
	if p := lookupProblem(d.FailedLookups); p != nil {
		list = append(list, *p)
	}
	used := make(map[string]bool)
	for _, l := range d.Listeners {
		used[l.Cluster] = true
		for _, r := range l.Routes {
			for name := range r.Clusters {
				used[name] = true
			}
		}
	}
	for i := range d.Clusters {
		list = append(list, d.Clusters[i].problems(used[d.Clusters[i].Name])...)
	}
	rank := map[string]int{Critical: 0, Warning: 1, Note: 2}
	slices.SortStableFunc(list, func(a, b Problem) int { return rank[a.Severity] - rank[b.Severity] })
	d.Problems = list
}

func clientsWait(n int) string {
	if n == 1 {
		return "client waits"
	}
	return "clients wait"
}

// lookupProblem returns one problem for all names that do not resolve any more, or nil.
func lookupProblem(failed []FailedLookup) *Problem {
	if len(failed) == 0 {
		return nil
	}
	var names []string
	since := failed[0].Since
	for _, f := range failed {
		if len(names) < maxServersNamed {
			names = append(names, f.Name)
		}
		if f.Since.Before(since) {
			since = f.Since
		}
	}
	text := strings.Join(names, ", ")
	if more := len(failed) - len(names); more > 0 {
		text = fmt.Sprintf("%d host names: %s and %d more", len(failed), text, more)
	}
	return &Problem{Severity: Warning, Text: text + ": not resolved, the last addresses stay in use", Reason: failed[0].Reason, Since: &since}
}

// problems returns the problems of a cluster. used reports whether a listener uses it.
func (c *Cluster) problems(used bool) []Problem {
	var list []Problem
	add := func(severity, text string) {
		list = append(list, Problem{Severity: severity, Cluster: c.Name, Text: text})
	}
	outage := Critical
	if !used {
		outage = Warning // no client is rejected
	}
	servers, ofServers := c.serverProblems()
	switch {
	case servers == 0:
		add(outage, "no servers")
	case c.Level == "" && c.lacksPrimary():
		add(outage, c.primaryText())
		list[0].Reason = cmp.Or(c.Topology.Problem, c.Topology.Source)
	case c.Level == "":
		add(outage, "no eligible server")
	case c.Empty:
		add(outage, "no healthy server: protection keeps the last one in use")
	}
	ofTopology := c.topologyProblems(len(list) > 0)
	if len(list) > 0 && len(ofServers) > 0 && !c.lacksPrimary() { // an outage is one problem, with the reason of its first server
		all := &list[0]
		all.Servers, all.Reason, all.Since = ofServers[0].Servers, ofServers[0].Reason, c.lastFailureAt()
		ofServers = slices.DeleteFunc(ofServers, func(p Problem) bool { return p.Severity == Warning })
	}
	if c.Queue > 0 {
		add(Warning, fmt.Sprintf("%s in the queue", plural(c.Queue, "session")))
	}
	if c.HeldSessions > 0 {
		add(Warning, plural(c.HeldSessions, "session")+" held until a server can serve")
	}
	for i := range c.Levels {
		if l := &c.Levels[i]; l.InUse && l.Impaired && l.Eligible < l.MinUp {
			add(Warning, fmt.Sprintf("level %s in use below min_up: %d of %d servers eligible", l.Name, l.Eligible, l.MinUp))
		}
	}
	switch better := c.impairedLevel(); {
	case c.Held:
		add(Warning, fmt.Sprintf("level %s stays in use: failback is manual", c.Level))
	case c.Level != "" && better != "":
		add(Warning, fmt.Sprintf("level %s in use instead of %s", c.Level, better))
	}
	return slices.Concat(list, ofTopology, c.discoveryProblems(), ofServers)
}

// lacksPrimary reports whether the cluster needs a primary that its topology does not name, or names outside of the cluster.
func (c *Cluster) lacksPrimary() bool {
	t := c.Topology
	return t != nil && t.Role == "primary" && (t.Primary == "" || c.server(t.Primary) == nil)
}

// primaryText describes a missing primary.
func (c *Cluster) primaryText() string {
	switch t := c.Topology; {
	case t.Primary != "":
		return "no primary: " + t.Primary + " is not a server of the cluster"
	case t.DecidedAt == nil:
		return "no primary: no decision yet"
	}
	return "no primary"
}

// server returns a server of the cluster, or nil.
func (c *Cluster) server(name string) *Server {
	for i := range c.Levels {
		for j := range c.Levels[i].Servers {
			if s := &c.Levels[i].Servers[j]; s.Name == name {
				return s
			}
		}
	}
	return nil
}

// topologyProblems returns the problems of the topology. outage is set if the cluster has no server, which is reported
// already.
func (c *Cluster) topologyProblems(outage bool) (list []Problem) {
	t := c.Topology
	if t == nil {
		return nil
	}
	add := func(text, reason string, since *time.Time) {
		list = append(list, Problem{Severity: Warning, Cluster: c.Name, Text: text, Reason: reason, Since: since})
	}
	switch {
	case t.StaleSince != nil:
		add("topology stale: the last decision stays in force", cmp.Or(t.Problem, t.Source), t.StaleSince)
	case t.Primary == "" && !outage:
		add(c.primaryText(), cmp.Or(t.Problem, t.Source), nil)
	case t.Problem != "" && !(outage && c.lacksPrimary()): // which names it already
		add("topology: "+t.Problem, t.Source, nil)
	}
	var first *Member
	names, n := []string{}, 0
	for i := range t.Members {
		m := &t.Members[i]
		if m.Problem == "" || m.Role != "primary" && m.Role != "replica" {
			continue
		}
		if n++; first == nil {
			first = m
		}
		if len(names) < maxServersNamed {
			names = append(names, cmp.Or(m.Server, m.Address))
		}
	}
	if n > 0 {
		text := strings.Join(names, ", ")
		if n > len(names) {
			text += fmt.Sprintf(" and %d more", n-len(names))
		}
		add(text+": listed by the topology and cannot be used", first.Problem, nil)
	}
	return list
}

// lastFailureAt returns when the last server that is out of service left it.
func (c *Cluster) lastFailureAt() *time.Time {
	var last time.Time
	for i := range c.Levels {
		for j := range c.Levels[i].Servers {
			if s := &c.Levels[i].Servers[j]; s.State != "up" && s.State != "standby" && s.Since.After(last) {
				last = s.Since
			}
		}
	}
	return &last
}

// impairedLevel returns the first level before the one in use that is impaired, or "".
func (c *Cluster) impairedLevel() string {
	for i := range c.Levels {
		switch l := &c.Levels[i]; {
		case l.InUse:
			return ""
		case l.Impaired:
			return l.Name
		}
	}
	return ""
}

// serverProblems returns the number of servers, and a problem for each state other than up and standby that servers have,
// and for checks that cannot run.
func (c *Cluster) serverProblems() (servers int, list []Problem) {
	byState := make(map[string]*Problem)
	count := make(map[string]int)
	seen := make(map[string]bool)
	for i := range c.Levels {
		for j := range c.Levels[i].Servers {
			s := &c.Levels[i].Servers[j]
			if seen[s.Name] {
				continue
			}
			seen[s.Name] = true
			add := func(state, reason string, since *time.Time) {
				count[state]++
				p := byState[state]
				if p == nil {
					p = &Problem{Cluster: c.Name, Reason: reason, Since: since}
					byState[state] = p
				}
				if since != nil && since.Before(*p.Since) {
					p.Since = since
				}
				if len(p.Servers) < maxServersNamed {
					p.Servers = append(p.Servers, s.Name)
				}
			}
			if s.NotChecked != "" {
				add(notChecked, s.NotChecked, nil)
			}
			if s.State != "up" && s.State != "standby" {
				add(s.State, s.Reason, new(s.Since))
			}
		}
	}
	for _, state := range []string{"down", "unstable", "failing", "full", "unresolved", "probation", notChecked, "maint", "drain"} {
		p := byState[state]
		if p == nil {
			continue
		}
		p.Severity = Warning
		if state == "maint" || state == "drain" {
			p.Severity = Note
		}
		names := strings.Join(p.Servers, ", ")
		if more := count[state] - len(p.Servers); more > 0 {
			p.Text = fmt.Sprintf("%d of %d servers %s: %s and %d more", count[state], len(seen), state, names, more)
		} else {
			p.Text = names + ": " + state
		}
		list = append(list, *p)
	}
	return len(seen), list
}

// notChecked stands beside the states of servers in the texts of problems.
const notChecked = "not checked"

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
