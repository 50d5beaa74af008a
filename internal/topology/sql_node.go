package topology

import (
	"errors"
	"time"

	"weir/checks"
	"weir/internal/printable"
)

// sqlNode is what is known of one address that servers of the cluster have. It is a value without connections, so that
// decisions are pure.
type sqlNode struct {
	address string   // as configured; several servers may have it
	names   []string // of those servers

	// now is the answer in force and before the one that it replaced; nil = none. What an answer holds depends on the source.
	now, before *sqlAnswer

	// asked reports whether the node has answered, or has failed as often as fall says, since the start, since this process
	// was paused, or since the address changed. Until then nothing new is decided to the advantage of any node.
	asked bool

	failures int       // polls in a row that have failed
	failed   bool      // they are as many as fall says
	tries    int       // polls in a row without an answer
	heldFrom time.Time // since when polls have not confirmed now; zero = the last poll has
	reason   string    // why the last poll gave no answer
}

// sqlAnswer is the answer of a node to one poll.
type sqlAnswer struct {
	began, ended time.Time
	mysql        *mysqlFacts
	galera       *galeraFacts
}

// record takes the result of a poll that began and ended at the given times.
//
//	result              answer in force          counts towards fall   asked
//	answer              the new one              resets                yes
//	shortage of this    unchanged                no                    after fall polls
//	host, server full
//	any other failure   unchanged until fall     yes                   at fall
//	                    failures, then none
//
// A full server works, and this host's own shortage is no evidence at all: the server's role is then as it was.
func (n *sqlNode) record(a *sqlAnswer, err error, fall int, began time.Time) {
	n.tries++
	if err == nil {
		n.before, n.now = n.now, a
		n.asked, n.failures, n.failed, n.tries, n.heldFrom, n.reason = true, 0, false, 0, time.Time{}, ""
		return
	}
	if n.heldFrom.IsZero() {
		n.heldFrom = began
	}
	n.reason = printable.Clip(err.Error(), 2*printable.MaxQuote)
	var full *checks.FullError
	if !checks.IsShortage(err) && !errors.As(err, &full) {
		n.failures++
	}
	if n.failures >= fall {
		n.now, n.before, n.failed = nil, nil, true
	}
	if n.tries >= fall {
		n.asked = true
	}
}

// hasty reports whether the next poll does not wait for the next round: it decides whether the answer in force ends.
func (n *sqlNode) hasty(fall int) bool {
	return n.failures > 0 && n.failures < fall || !n.asked
}

// restart makes the node unasked: its answer is from before a pause of this process. The answer stays in force until the
// node has been asked.
func (n *sqlNode) restart(now time.Time) {
	n.asked, n.failures, n.tries, n.before = false, 0, 0, nil // failed stays: nothing is known that is better
	if n.heldFrom.IsZero() {
		n.heldFrom = now
	}
}

// confirmed reports whether the last poll of the node gave an answer.
func (n *sqlNode) confirmed() bool { return n.now != nil && n.heldFrom.IsZero() }

// silence returns the role of a node without an answer. A node that has failed is out of service. One that could not be
// asked, for reasons of this host or because it is full, is unknown.
func (n *sqlNode) silence() sqlRole {
	switch {
	case !n.asked && n.reason == "":
		return sqlRole{role: Unknown, reason: "not asked yet"}
	case !n.failed:
		return sqlRole{role: Unknown, reason: "no answer: " + n.reason}
	}
	return sqlRole{role: Other, reason: "no answer: " + n.reason}
}

// sqlDecision is a decision of a source about its nodes.
type sqlDecision struct {
	primary string    // address; "" = none
	roles   []sqlRole // of the nodes, in their order
	source  string    // as View.Source
	gtid    string    // as View.GTID
	problem string    // as View.Problem
	doubt   sqlDoubt  // whether the decision is in force at once
}

type sqlRole struct {
	role   Role
	able   bool // its answer in force does not exclude it as the primary
	reason string
}

// sqlDoubt tells how sure a decision is.
type sqlDoubt uint8

const (
	certain   sqlDoubt = iota
	confirm            // it is in force if the next round gives the same primary
	undecided          // the answers do not go together: the primary is unchanged, and the nodes are asked again
)

// settle returns the primary after a decision. current is the primary before it, and last the decision of the round
// before, which may be the zero value.
//
//	decision                                              primary
//	certain, or confirmed by a second one                 as decided
//	another primary, while a node has not been asked      current while it is able to be, or was not asked; else none
//	none, while the current one has not been asked        current
//	unconfirmed or undecided                              current while it is able to be, or was not asked; else none
func settle(nodes []sqlNode, d, last sqlDecision, current string) string {
	if d.primary == current {
		return current
	}
	wait := d.doubt == undecided || d.doubt == confirm && (last.doubt != confirm || last.primary != d.primary)
	for i := range nodes {
		if n := &nodes[i]; !n.asked && (d.primary != "" || n.address == current) {
			wait = true
		}
	}
	if !wait {
		return d.primary
	}
	for i := range nodes {
		if n := &nodes[i]; n.address == current && (d.roles[i].able || !n.asked) {
			return current
		}
	}
	return ""
}
