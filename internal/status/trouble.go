package status

// What is wrong, worst first: the same words for the API, the dashboard and the command line.

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// How bad a Trouble is.
const (
	Critical = "critical" // clients are turned away, or nearly so
	Warning  = "warning"  // clients are served, with less than there should be
	Note     = "note"     // somebody wanted it so
)

// Problem is one thing that an operator should know of.
type Problem struct {
	Severity string     `json:"severity"` // critical, warning or note
	Cluster  string     `json:"cluster,omitempty"`
	Servers  []string   `json:"servers,omitempty"` // the first of those concerned
	Text     string     `json:"text"`
	Reason   string     `json:"reason,omitempty"` // of the first server, or of a refused reload
	Since    *time.Time `json:"since,omitempty"`
}

// namesShown is how many servers a trouble names.
const namesShown = 3

// FindProblems fills in Troubles from all the rest, worst first. There are a few for each cluster, however many servers it has.
func (d *Document) FindProblems() {
	list := []Problem{}
	if d.Stopping {
		list = append(list, Problem{Severity: Critical, Text: "weir stops: no more clients are taken"})
	}
	switch {
	case d.MaxSessions > 0 && d.Sessions >= d.MaxSessions:
		list = append(list, Problem{Severity: Critical, Text: fmt.Sprintf("all %d sessions are taken: clients are turned away", d.MaxSessions)})
	case d.MaxSessions > 0 && d.Sessions >= d.MaxSessions/10*9:
		list = append(list, Problem{Severity: Warning, Text: fmt.Sprintf("%d of %d sessions are taken", d.Sessions, d.MaxSessions)})
	}
	if d.Config.LastError != "" {
		list = append(list, Problem{Severity: Warning, Text: "the last reload was refused: the configuration before it is in force",
			Reason: d.Config.LastError, Since: d.Config.LastErrorAt})
	}
	if f := d.StateFile; f != nil && f.LastError != "" {
		list = append(list, Problem{Severity: Warning, Text: "the state file cannot be written: a restart would forget what was said at run time",
			Reason: f.LastError, Since: f.SavedAt})
	}
	if f := d.StateFile; f != nil && f.SetAside != "" {
		list = append(list, Problem{Severity: Note, Text: "the state file could not be used at the start", Reason: "set aside as " + f.SetAside})
	}
	for i := range d.Hooks {
		if h := &d.Hooks[i]; h.Failing {
			list = append(list, Problem{Severity: Warning, Text: fmt.Sprintf("event hook %s fails: events missed so far: %d", h.Name, h.Dropped),
				Reason: h.LastError, Since: h.LastErrorAt})
		}
	}
	used := make(map[string]bool)
	for _, l := range d.Listeners {
		used[l.Cluster] = true
	}
	for i := range d.Clusters {
		list = append(list, d.Clusters[i].problems(used[d.Clusters[i].Name])...)
	}
	rank := map[string]int{Critical: 0, Warning: 1, Note: 2}
	slices.SortStableFunc(list, func(a, b Problem) int { return rank[a.Severity] - rank[b.Severity] })
	d.Problems = list
}

// problems of a cluster; used tells whether a listener leads to it.
func (c *Cluster) problems(used bool) []Problem {
	var list []Problem
	tell := func(severity, text string) {
		list = append(list, Problem{Severity: severity, Cluster: c.Name, Text: text})
	}
	worst := Critical
	if !used {
		worst = Warning // there is nobody to turn away
	}
	servers := 0
	for i := range c.Levels {
		servers += len(c.Levels[i].Servers)
	}
	out := c.serverProblems()
	switch {
	case servers == 0:
		tell(worst, "there are no servers")
	case c.Level == "":
		tell(worst, "no server can serve")
	case c.Empty:
		tell(worst, "no server is healthy: the last is kept in use")
	}
	if len(list) > 0 && len(out) > 0 { // an outage: one line tells of it, and why
		all := &list[0]
		all.Servers, all.Reason, all.Since = out[0].Servers, out[0].Reason, c.lastFailureAt()
		out = slices.DeleteFunc(out, func(t Problem) bool { return t.Severity == Warning })
	}
	if c.Queue > 0 {
		tell(Warning, fmt.Sprintf("sessions wait for room: %d", c.Queue))
	}
	for i := range c.Levels {
		if l := &c.Levels[i]; l.InUse && l.Eligible < l.MinUp {
			tell(Warning, fmt.Sprintf("level %s serves with %d of the %d servers that it should have", l.Name, l.Eligible, l.MinUp))
		}
	}
	switch first := c.firstLevel(); {
	case c.Held:
		tell(Warning, fmt.Sprintf("level %s stays in use until a failback is asked for", c.Level))
	case c.Level != "" && first != c.Level:
		tell(Warning, fmt.Sprintf("level %s serves instead of %s", c.Level, first))
	}
	return append(list, out...)
}

// lastFailureAt is when the last server that is out of service went.
func (c *Cluster) lastFailureAt() *time.Time {
	var last time.Time
	for i := range c.Levels {
		for j := range c.Levels[i].Servers {
			if s := &c.Levels[i].Servers[j]; s.State != "up" && s.Since.After(last) {
				last = s.Since
			}
		}
	}
	return &last
}

// firstLevel is the level that would serve if all were well: the first with servers.
func (c *Cluster) firstLevel() string {
	for i := range c.Levels {
		if len(c.Levels[i].Servers) > 0 {
			return c.Levels[i].Name
		}
	}
	return ""
}

// serverProblems is a trouble for each state but up that servers are in.
func (c *Cluster) serverProblems() []Problem {
	of := make(map[string]*Problem)
	count := make(map[string]int)
	seen := make(map[string]bool)
	for i := range c.Levels {
		for j := range c.Levels[i].Servers {
			s := &c.Levels[i].Servers[j]
			if s.State == "up" || seen[s.Name] {
				continue
			}
			seen[s.Name] = true
			count[s.State]++
			t := of[s.State]
			if t == nil {
				since := s.Since
				t = &Problem{Cluster: c.Name, Reason: s.Reason, Since: &since}
				of[s.State] = t
			}
			if s.Since.Before(*t.Since) {
				*t.Since = s.Since
			}
			if len(t.Servers) < namesShown {
				t.Servers = append(t.Servers, s.Name)
			}
		}
	}
	var list []Problem
	for _, state := range []string{"down", "unstable", "failing", "unresolved", "probation", "maint", "drain"} {
		t := of[state]
		if t == nil {
			continue
		}
		t.Severity = Warning
		if state == "maint" || state == "drain" {
			t.Severity = Note
		}
		names := strings.Join(t.Servers, ", ")
		if more := count[state] - len(t.Servers); more > 0 {
			names += fmt.Sprintf(" and %d more", more)
		}
		t.Text = names + ": " + state
		list = append(list, *t)
	}
	return list
}
