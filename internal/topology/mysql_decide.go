package topology

import (
	"fmt"
	"strings"

	"weir/internal/printable"
)

// decideMySQL chooses the primary among servers that replicate. current is the primary so far. keep is on_conflict =
// "keep".
//
// Old is the primary so far, new another server. "Silent" is a server whose answer no longer holds: it failed as often as
// fall says. While it only has failed less often, or is full, its last answer counts ("writable, unconfirmed").
//
//	old                     new          primary
//	writable                read only    old
//	read only               read only    none
//	read only               writable     new
//	writable                writable     by GTID: the one that has everything of the other; else none, or old with keep
//	writable, unconfirmed   read only    old
//	writable, unconfirmed   writable     by GTID, with the last known GTIDs of old
//	silent                  read only    none: nothing is known of old, and new does not want to be the primary
//	silent                  writable     new
//	silent                  silent       none
//	back from silence, writable          old is a server like any other: by GTID with new, never by its past
//
// A partition that hides old from weir and not from others cannot be told from its end. The primary is then new for the
// clients of this weir. That old accepts no more writes from elsewhere, the tool that promotes new must ensure. Two
// servers are never the primary at the same time for one weir.
func decideMySQL(nodes []sqlNode, current string, keep bool) sqlDecision {
	var writable []int
	answers := 0
	d := sqlDecision{roles: make([]sqlRole, len(nodes))}
	for i := range nodes {
		d.roles[i] = mysqlRole(&nodes[i])
		if nodes[i].now != nil {
			answers++
		}
		if d.roles[i].able {
			writable = append(writable, i)
		}
	}
	switch len(writable) {
	case 0:
		d.source = "mysql: no server is writable"
		if answers == 0 {
			d.silence(nodes, "mysql")
		}
	case 1:
		d.choose(nodes, writable[0], "mysql: primary is "+nodes[writable[0]].address, "it is writable")
	default:
		d.contest(nodes, writable, current, keep)
	}
	return d
}

// silence describes a decision without any answer. The roles are unknown then: that no server can be reached says more about
// this host, its network or its password than about the servers, and sessions that work are not closed.
func (d *sqlDecision) silence(nodes []sqlNode, kind string) {
	reason := ""
	for i := range nodes {
		d.roles[i].role = Unknown
	}
	for i := range nodes {
		switch n := &nodes[i]; {
		case !n.asked:
			d.source = kind + ": no server has answered yet"
			return
		case reason == "" && n.reason != "":
			reason = ": " + n.address + ": " + n.reason
		}
	}
	d.source = kind + ": no server answers"
	if len(nodes) > 0 {
		d.problem = d.source + reason
	}
}

// choose makes a node the primary.
func (d *sqlDecision) choose(nodes []sqlNode, i int, source, reason string) {
	d.primary, d.source = nodes[i].address, source
	d.roles[i].role, d.roles[i].reason = Primary, reason
	if m := nodes[i].now.mysql; m != nil {
		d.gtid = m.history.text
	}
}

// mysqlRole returns the role of a server that is not the primary.
func mysqlRole(n *sqlNode) sqlRole {
	if n.now == nil {
		return n.silence()
	}
	m := n.now.mysql
	switch r := m.replication; {
	case r.broken != "":
		return sqlRole{Other, m.readOnly == "", "replication: " + r.broken}
	case r.runs && m.readOnly == "":
		return sqlRole{Replica, true, "it is writable, and its replication runs"}
	case r.runs:
		return sqlRole{Replica, false, "its replication runs"}
	case m.readOnly != "" && r.configured:
		return sqlRole{Replica, false, m.readOnly + "; its replication does not run"}
	case m.readOnly != "":
		return sqlRole{Replica, false, m.readOnly}
	}
	return sqlRole{Other, true, "it is writable and not the primary"}
}

// contest chooses among several writable servers. The outcome must be confirmed by the next round, because two answers
// are never from the same moment.
func (d *sqlDecision) contest(nodes []sqlNode, writable []int, current string, keep bool) {
	d.doubt = confirm
	var why string
	for _, i := range writable {
		wins := true
		for _, j := range writable {
			if i == j {
				continue
			}
			switch r, reason := compareNodes(&nodes[i], &nodes[j]); r {
			case later:
				d.doubt, d.source = undecided, "mysql: several servers are writable"
				return
			case ahead:
			default:
				wins = false
				if why == "" || r == diverged {
					why = reason
				}
			}
		}
		if wins {
			source := fmt.Sprintf("mysql: primary is %s, its GTIDs include those of %s", nodes[i].address, others(nodes, writable, i))
			d.choose(nodes, i, source, "it is writable, and its GTIDs include those of the others")
			d.problem = "several servers are writable: " + others(nodes, writable, -1)
			return
		}
	}
	if why == "" {
		why = "none has everything of the others"
	}
	d.source = fmt.Sprintf("mysql: %s are writable: %s", others(nodes, writable, -1), why)
	d.problem = "conflict: " + strings.TrimPrefix(d.source, "mysql: ")
	for _, i := range writable {
		if keep && nodes[i].address == current {
			d.choose(nodes, i, fmt.Sprintf("mysql: primary is still %s (on_conflict = keep)", current), strings.TrimPrefix(d.source, "mysql: "))
		}
	}
}

// others lists the addresses of nodes without one of them.
func others(nodes []sqlNode, list []int, without int) string {
	var names []string
	for _, i := range list {
		if i != without {
			names = append(names, nodes[i].address)
		}
	}
	return printable.Clip(strings.Join(names, ", "), printable.MaxQuote)
}

// relation is the result of a comparison of two servers a and b.
type relation uint8

const (
	ahead    relation = iota // a has everything of b, and b has not everything of a
	behind                   // the opposite
	same                     // each has everything of the other, as far as can be told
	diverged                 // each has something that the other has not
	unlike                   // their GTIDs cannot be compared
	later                    // the answers do not tell yet
)

// compareNodes compares the histories of two servers, and returns the reason if neither is ahead.
//
// Servers that are written to cannot be asked at the same moment. That a has everything of b is certain if a was asked
// after b: what b had then, a has too. That a lacks something of b is certain under the same condition: a has still not
// received it. Both need the answer of one to be later than an answer of the other, in both directions: two rounds. A
// server that does not answer is taken to have stayed as it was.
func compareNodes(a, b *sqlNode) (relation, string) {
	x, y := a.now.mysql, b.now.mysql
	switch {
	case x.identity != "" && x.identity == y.identity:
		return unlike, "they have the same server_id or server_uuid (" + x.identity + ")"
	case x.history.unknown != "":
		return unlike, a.address + ": " + x.history.unknown
	case y.history.unknown != "":
		return unlike, b.address + ": " + y.history.unknown
	case !x.history.comparable(y.history):
		return unlike, "their GTIDs are of different kinds"
	}
	aHas, known1 := hasAll(a, b)
	bHas, known2 := hasAll(b, a)
	switch {
	case !known1 || !known2:
		return later, ""
	case aHas && bHas:
		return same, "their GTIDs are equal"
	case aHas:
		return ahead, ""
	case bHas:
		return behind, ""
	}
	return diverged, "their data has diverged"
}

// hasAll reports whether a has everything that b had when b was asked before a. known reports whether it was.
func hasAll(a, b *sqlNode) (all, known bool) {
	for _, old := range []*sqlAnswer{b.now, b.before} {
		if old == nil || old.mysql.history.unknown != "" || !a.now.mysql.history.comparable(old.mysql.history) {
			continue
		}
		if !a.now.began.Before(old.ended) || !a.heldFrom.IsZero() {
			return a.now.mysql.history.includes(old.mysql.history), true
		}
	}
	return false, false
}
