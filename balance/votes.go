package balance

import (
	"fmt"
	"time"
)

// Votes is what other instances find about a server, for clusters in which the majority decides whether a server is down. The
// zero value: no other instance checks the server, so the verdict of this one decides.
type Votes struct {
	Nodes int    // other instances that check the server
	Down  int    // how many of them find it down
	Who   string // those, for display
}

// areMajority reports whether more than half of all instances, this one included, find the server down. own is the verdict of
// this one.
//
//	other nodes   of them down   own verdict   down
//	0             0              down          yes
//	0             0              up            no
//	1             0              down          no
//	1             1              down          yes
//	1             1              up            no
//	2             1              down          yes
//	2             1              up            no
//	2             2              up            yes
//	3             1              down          no
func (v Votes) areMajority(own bool) bool {
	return 2*(v.Down+count(own)) > v.Nodes+1
}

// text describes the votes. own is the verdict of this instance.
func (v Votes) text(own bool) string {
	who := v.Who
	if own && who != "" {
		who = "this one, " + who
	} else if own {
		who = "this one"
	}
	down := v.Down + count(own)
	verb := "find"
	if down == 1 {
		verb = "finds"
	}
	text := fmt.Sprintf("%d of %d nodes %s it down", down, v.Nodes+1, verb)
	if who != "" {
		text += ": " + who
	}
	return text
}

// VotesText describes the votes of all instances about a server with these layers.
func (l *Layers) VotesText() string { return l.Votes.text(l.checksFindDown()) }

// FleetSays returns the state that the majority asks for: Up, Down, or Failing if only this instance and a minority of others
// find the server down.
func (l *Layers) FleetSays() State {
	switch own := l.checksFindDown(); {
	case l.Votes.areMajority(own):
		return Down
	case own:
		return Failing
	}
	return Up
}

// checksFindDown reports whether the checks of this instance find the server down. A check that has not passed yet
// (initial = "down") finds nothing.
func (l *Layers) checksFindDown() bool {
	v := l.deciding()
	return v != nil && v.State == Down && !v.Initial
}

// SetVotes sets the votes about all servers, by name. They end at a time; 0 = never.
func (c *Cluster) SetVotes(of func(server string) Votes, until, now time.Duration) {
	c.lock(now)
	if c.votesUntil = until; until == 0 {
		c.votesUntil = never
	}
	c.nextTimer = min(c.nextTimer, c.votesUntil)
	for name, s := range c.servers {
		c.setVotes(s, of(name))
	}
	c.publishChanges()
	unfit := c.tablesStale
	c.tablesStale = false
	c.unlock()
	if unfit {
		c.rebuildTables()
	}
}

func (c *Cluster) setVotes(s *Server, v Votes) {
	if s.layers.Votes == v {
		return
	}
	s.layers.Votes, s.layers.VotesAt = v, c.now
	c.recompute(s, ByFleet, s.layers.VotesText())
}

// expireVotes ends the votes when their time has come.
func (c *Cluster) expireVotes() {
	if c.now < c.votesUntil {
		c.nextTimer = min(c.nextTimer, c.votesUntil)
		return
	}
	c.votesUntil = never
	for _, s := range c.servers {
		c.setVotes(s, Votes{})
	}
}

// SplitVotes describes the votes about the servers that some instances find down, and others do not.
func (c *Cluster) SplitVotes() map[string]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	split := map[string]string{}
	for name, s := range c.servers {
		if down := s.layers.Votes.Down + count(s.layers.checksFindDown()); down > 0 && down <= s.layers.Votes.Nodes {
			split[name] = s.layers.VotesText()
		}
	}
	return split
}

// FoundDown returns the names of the servers that the checks of this instance find down, in no particular order.
func (c *Cluster) FoundDown() (list []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, s := range c.servers {
		if s.layers.checksFindDown() {
			list = append(list, name)
		}
	}
	return list
}
