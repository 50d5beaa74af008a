package topology

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// epoch is the time of the first round of scripted answers. Rounds are a second apart, and an answer takes 10 ms.
var epoch = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

// mysqlNode returns a node that has answered in rounds 1 and 2 with the same facts.
func mysqlNode(address string, f mysqlFacts) sqlNode {
	if f.identity == "" {
		f.identity = address
	}
	n := sqlNode{address: address, names: []string{address}, asked: true}
	n.before = &sqlAnswer{began: epoch, ended: epoch.Add(10 * time.Millisecond), mysql: &f}
	n.now = &sqlAnswer{began: epoch.Add(time.Second), ended: epoch.Add(1010 * time.Millisecond), mysql: &f}
	return n
}

func writable(executed string) mysqlFacts { return mysqlFacts{history: mysqlHistory(executed)} }

func readOnly(executed string) mysqlFacts {
	return mysqlFacts{history: mysqlHistory(executed), readOnly: "read_only = ON", replication: replication{configured: true, runs: true}}
}

// silentNode returns a node whose answer no longer holds.
func silentNode(address string) sqlNode {
	return sqlNode{address: address, names: []string{address}, asked: true, failures: 2, failed: true, tries: 2, heldFrom: epoch, reason: "timed out"}
}

// unconfirmed returns the node after one failed poll in a third round.
func unconfirmed(n sqlNode) sqlNode {
	n.record(nil, errUnresolved, 2, epoch.Add(2*time.Second))
	return n
}

func TestDecideMySQL(t *testing.T) {
	const few, more, other = uuidA + ":1-5", uuidA + ":1-9", uuidB + ":1"
	for _, c := range []struct {
		name    string
		old     sqlNode
		new     sqlNode
		keep    bool
		primary string
		source  string
		problem string
	}{
		{"old alone", mysqlNode("old", writable(few)), mysqlNode("new", readOnly(few)), false, "old", "mysql: primary is old", ""},
		{"none", mysqlNode("old", readOnly(few)), mysqlNode("new", readOnly(few)), false, "", "mysql: no server is writable", ""},
		{"switched", mysqlNode("old", readOnly(few)), mysqlNode("new", writable(few)), false, "new", "mysql: primary is new", ""},
		{
			"new has more", mysqlNode("old", writable(few)), mysqlNode("new", writable(more)), false, "new",
			"mysql: primary is new, its GTIDs include those of old", "several servers are writable: old, new",
		},
		{
			"old has more", mysqlNode("old", writable(more)), mysqlNode("new", writable(few)), false, "old",
			"mysql: primary is old, its GTIDs include those of new", "several servers are writable: old, new",
		},
		{
			"equal", mysqlNode("old", writable(few)), mysqlNode("new", writable(few)), false, "",
			"mysql: old, new are writable: their GTIDs are equal", "conflict: old, new are writable: their GTIDs are equal",
		},
		{
			"equal, keep", mysqlNode("old", writable(few)), mysqlNode("new", writable(few)), true, "old",
			"mysql: primary is still old (on_conflict = keep)", "conflict: old, new are writable: their GTIDs are equal",
		},
		{
			"diverged", mysqlNode("old", writable(few)), mysqlNode("new", writable(other)), false, "",
			"mysql: old, new are writable: their data has diverged", "conflict: old, new are writable: their data has diverged",
		},
		{
			"diverged, keep", mysqlNode("old", writable(few)), mysqlNode("new", writable(other)), true, "old",
			"mysql: primary is still old (on_conflict = keep)", "conflict: old, new are writable: their data has diverged",
		},
		{
			"keep does not keep what is read only", mysqlNode("old", readOnly(few)), mysqlNode("new", writable(other)), true, "new",
			"mysql: primary is new", "",
		},
		{"unconfirmed alone", unconfirmed(mysqlNode("old", writable(few))), mysqlNode("new", readOnly(few)), false, "old", "mysql: primary is old", ""},
		{
			"unconfirmed, new has more", unconfirmed(mysqlNode("old", writable(few))), mysqlNode("new", writable(more)), false, "new",
			"mysql: primary is new, its GTIDs include those of old", "several servers are writable: old, new",
		},
		{
			"unconfirmed, equal", unconfirmed(mysqlNode("old", writable(few))), mysqlNode("new", writable(few)), false, "",
			"mysql: old, new are writable: their GTIDs are equal", "conflict: old, new are writable: their GTIDs are equal",
		},
		{"silent, new read only", silentNode("old"), mysqlNode("new", readOnly(few)), false, "", "mysql: no server is writable", ""},
		{"silent, new writable", silentNode("old"), mysqlNode("new", writable(few)), false, "new", "mysql: primary is new", ""},
		{
			"both silent", silentNode("old"), silentNode("new"), false, "",
			"mysql: no server answers", "mysql: no server answers: old: timed out",
		},
		{
			"the same number", mysqlNode("old", mysqlFacts{identity: "1", history: mysqlHistory(few)}),
			mysqlNode("new", mysqlFacts{identity: "1", history: mysqlHistory(more)}), false, "",
			"mysql: old, new are writable: they have the same server_id or server_uuid (1)",
			"conflict: old, new are writable: they have the same server_id or server_uuid (1)",
		},
		{
			"unreadable", mysqlNode("old", writable(few)), mysqlNode("new", writable("what")), false, "",
			`mysql: old, new are writable: new: GTIDs: malformed: "what"`, `conflict: old, new are writable: new: GTIDs: malformed: "what"`,
		},
		{
			"unlike", mysqlNode("old", writable(few)), mysqlNode("new", mysqlFacts{history: mariadbHistory(nil)}), false, "",
			"mysql: old, new are writable: their GTIDs are of different kinds", "conflict: old, new are writable: their GTIDs are of different kinds",
		},
	} {
		for _, nodes := range [][]sqlNode{{c.old, c.new}, {c.new, c.old}} {
			d := decideMySQL(nodes, "old", c.keep)
			require.Equal(t, c.primary, d.primary, c.name)
			if nodes[0].address == "old" {
				require.Equal(t, c.source, d.source, c.name)
				require.Equal(t, c.problem, d.problem, c.name)
			}
			primaries := 0
			for i, r := range d.roles {
				require.NotEmpty(t, r.reason, c.name)
				if r.role == Primary {
					primaries++
					require.Equal(t, c.primary, nodes[i].address, c.name)
				}
			}
			require.Equal(t, c.primary != "", primaries == 1, c.name)
		}
	}
}

// Answers of one round do not compare two servers: each may have received the transactions of the other since.
func TestServersAreComparedByTwoRounds(t *testing.T) {
	old, promoted := mysqlNode("old", writable(uuidA+":1-5")), mysqlNode("new", writable(uuidA+":1-9"))
	old.before, promoted.before = nil, nil
	d := decideMySQL([]sqlNode{old, promoted}, "old", false)
	require.Equal(t, undecided, d.doubt)
	require.Equal(t, "old", settle([]sqlNode{old, promoted}, d, sqlDecision{}, "old"))
}

// A replica that is writable by mistake and follows its primary under load never becomes the primary: in every answer it may
// have transactions that the earlier answer of the primary lacks.
func TestWritableReplicaUnderLoadIsNeverPrimary(t *testing.T) {
	primary, replica := mysqlNode("primary", writable(uuidA+":1-100")), mysqlNode("replica", writable(uuidA+":1-99"))
	after := func(n sqlNode, executed string) sqlNode {
		f := *n.now.mysql
		f.history = mysqlHistory(executed)
		n.now = &sqlAnswer{began: n.now.began, ended: n.now.ended, mysql: &f}
		return n
	}
	for _, executed := range []string{uuidA + ":1-150", uuidA + ":1-200", uuidA + ":1-201"} {
		nodes := []sqlNode{after(primary, uuidA+":1-200"), after(replica, executed)}
		require.NotEqual(t, "replica", decideMySQL(nodes, "primary", false).primary, executed)
	}
}

func TestMySQLRoles(t *testing.T) {
	for _, c := range []struct {
		facts  mysqlFacts
		role   Role
		reason string
	}{
		{readOnly(""), Replica, "its replication runs"},
		{mysqlFacts{readOnly: "read_only = ON"}, Replica, "read_only = ON"},
		{mysqlFacts{readOnly: "read_only = ON", replication: replication{configured: true}}, Replica, "read_only = ON; its replication does not run"},
		{
			mysqlFacts{readOnly: "read_only = ON", replication: replication{configured: true, broken: "the sql thread has stopped: x"}},
			Other, "replication: the sql thread has stopped: x",
		},
	} {
		d := decideMySQL([]sqlNode{mysqlNode("a", c.facts), mysqlNode("b", writable(""))}, "", false)
		require.Equal(t, sqlRole{role: c.role, reason: c.reason}, d.roles[0])
		require.Equal(t, "b", d.primary)
	}
	d := decideMySQL([]sqlNode{silentNode("a"), {address: "b"}, mysqlNode("c", writable(""))}, "", false)
	require.Equal(t, sqlRole{role: Other, reason: "no answer: timed out"}, d.roles[0])
	require.Equal(t, sqlRole{role: Unknown, reason: "not asked yet"}, d.roles[1])
	d = decideMySQL([]sqlNode{silentNode("a"), silentNode("b")}, "", false)
	require.Equal(t, Unknown, d.roles[0].role, "that none answers is no evidence against one")
}
