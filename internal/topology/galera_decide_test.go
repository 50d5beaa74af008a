package topology

import (
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// member returns a node that can serve, with its index in a view.
func member(address, cluster string, change uint64, size, index int) sqlNode {
	return galeraNode(address, galeraFacts{view: galeraView{cluster, change, size}, index: index})
}

func galeraNode(address string, f galeraFacts) sqlNode {
	return sqlNode{address: address, names: []string{address}, asked: true, now: &sqlAnswer{began: epoch, ended: epoch, galera: &f}}
}

func excludedNode(address, why string) sqlNode {
	return galeraNode(address, galeraFacts{excluded: why})
}

func TestDecideGalera(t *testing.T) {
	readOnlyMember := member("a", uuidA, 3, 3, 0)
	readOnlyMember.now.galera.readOnly = "read_only = ON"
	for _, c := range []struct {
		name            string
		nodes           []sqlNode
		current         string
		sticky, settled bool
		primary         string
		doubt           sqlDoubt
		roles           []Role
	}{
		{
			name:    "the lowest index",
			nodes:   []sqlNode{member("a", uuidA, 3, 3, 2), member("b", uuidA, 3, 3, 0), member("c", uuidA, 3, 3, 1)},
			primary: "b", roles: []Role{Replica, Primary, Replica},
		},
		{
			name:    "not the current one",
			nodes:   []sqlNode{member("a", uuidA, 3, 3, 1), member("b", uuidA, 3, 3, 0)},
			current: "a", primary: "b", roles: []Role{Replica, Primary},
		},
		{
			name:    "sticky",
			nodes:   []sqlNode{member("a", uuidA, 3, 3, 1), member("b", uuidA, 3, 3, 0)},
			current: "a", sticky: true, primary: "a", roles: []Role{Primary, Replica},
		},
		{
			name:    "sticky, the current one cannot serve",
			nodes:   []sqlNode{excludedNode("a", "wsrep_local_state = 2 (Donor/Desynced)"), member("b", uuidA, 3, 3, 2), member("c", uuidA, 3, 3, 1)},
			current: "a", sticky: true, primary: "c", roles: []Role{Other, Replica, Primary},
		},
		{
			name:    "a read-only node serves readers",
			nodes:   []sqlNode{readOnlyMember, member("b", uuidA, 3, 3, 1)},
			primary: "b", roles: []Role{Replica, Primary},
		},
		{
			name:    "a silent node",
			nodes:   []sqlNode{silentNode("a"), member("b", uuidA, 3, 3, 1)},
			primary: "b", roles: []Role{Other, Primary},
		},
		{name: "none can serve", nodes: []sqlNode{excludedNode("a", "wsrep_ready = OFF"), silentNode("b")}, roles: []Role{Other, Other}},
		{name: "none answers", nodes: []sqlNode{silentNode("a"), silentNode("b")}, roles: []Role{Unknown, Unknown}},
		{
			name:    "the membership has just changed",
			nodes:   []sqlNode{member("a", uuidA, 3, 3, 0), member("b", uuidA, 4, 2, 0), member("c", uuidA, 4, 2, 1)},
			current: "a", primary: "b", doubt: undecided, roles: []Role{Other, Primary, Replica},
		},
		{
			name:    "cut off, believes in its old view",
			nodes:   []sqlNode{member("a", uuidA, 3, 3, 0), member("b", uuidA, 4, 2, 0), member("c", uuidA, 4, 2, 1)},
			current: "a", settled: true, primary: "b", roles: []Role{Other, Primary, Replica},
		},
		{
			name:    "the larger of two clusters",
			nodes:   []sqlNode{member("a", uuidB, 9, 1, 0), member("b", uuidA, 2, 2, 0), member("c", uuidA, 2, 2, 1)},
			settled: true, primary: "b", roles: []Role{Other, Primary, Replica},
		},
		{
			name:    "two clusters of one node",
			nodes:   []sqlNode{member("a", uuidA, 1, 1, 0), member("b", uuidB, 1, 1, 0)},
			settled: true, roles: []Role{Other, Other},
		},
		{
			name:    "bootstrapped twice",
			nodes:   []sqlNode{member("a", uuidA, 4, 1, 0), member("b", uuidA, 4, 1, 0)},
			settled: true, roles: []Role{Other, Other},
		},
	} {
		d := decideGalera(c.nodes, c.current, c.sticky, c.settled)
		require.Equal(t, c.primary, d.primary, c.name)
		require.Equal(t, c.doubt, d.doubt, c.name)
		for i, r := range d.roles {
			require.Equal(t, c.roles[i], r.role, c.name)
			require.NotEmpty(t, r.reason, c.name)
		}
	}
}

// One node that lies does not take the writer from the others, whatever it claims: a later change, another size, the index of
// another node, and that it is read only.
func TestLyingGaleraNodeLeavesTheOthersAWriter(t *testing.T) {
	for _, size := range []int{3, 5} { // of 5 nodes, weir may have 3
		for _, lie := range []galeraFacts{
			{view: galeraView{uuidA, 99, size}}, {view: galeraView{uuidA, 99, 1}}, {view: galeraView{uuidA, 99, 2}}, {view: galeraView{uuidB, 99, 1}},
			{view: galeraView{uuidA, 3, size}}, {view: galeraView{uuidA, 3, size}, index: 1}, {view: galeraView{uuidA, 99, 1 << 20}},
		} {
			for _, readOnly := range []string{"", "read_only = ON"} {
				lie.readOnly = readOnly
				nodes := []sqlNode{member("a", uuidA, 3, size, 0), member("b", uuidA, 3, size, 1), galeraNode("liar", lie)}
				for _, current := range []string{"a", "b", ""} {
					d := decideGalera(nodes, current, false, true)
					require.Contains(t, []string{"a", "b"}, d.primary, "%+v", lie)
					require.Equal(t, certain, d.doubt)
					require.NotEmpty(t, d.problem)
					require.Equal(t, Other, d.roles[2].role)
					require.NotEmpty(t, d.roles[2].reason)
				}
			}
		}
	}
	two := []sqlNode{member("a", uuidA, 3, 2, 0), member("liar", uuidA, 3, 2, 0)}
	require.Empty(t, decideGalera(two, "a", false, true).primary, "one word against another")
	twice := []sqlNode{member("a", uuidA, 3, 2, 0), member("b", uuidA, 3, 2, 0), member("c", uuidA, 3, 2, 1)}
	require.Empty(t, decideGalera(twice, "a", false, true).primary, "three nodes in a view of two: bootstrapped twice")
}

// While the answers do not go together, the current node continues if it can serve.
func TestGaleraKeepsTheNodeWhileMembershipChanges(t *testing.T) {
	nodes := []sqlNode{member("a", uuidA, 3, 3, 0), member("b", uuidA, 4, 2, 0), member("c", uuidA, 4, 2, 1)}
	d := decideGalera(nodes, "a", false, false)
	require.Equal(t, "a", settle(nodes, d, sqlDecision{}, "a"))
	nodes[0] = excludedNode("a", "wsrep_cluster_status = non-Primary")
	nodes[1] = member("b", uuidA, 5, 3, 0)
	d = decideGalera(nodes, "a", false, false)
	require.Equal(t, undecided, d.doubt)
	require.Empty(t, settle(nodes, d, sqlDecision{}, "a"))
}

// The choice depends on the answers only, not on the order of the servers.
func TestGaleraChoiceIsIndependentOfOrder(t *testing.T) {
	for range 1000 {
		var nodes []sqlNode
		for i := range 2 + rand.IntN(4) {
			n := member(string(rune('a'+i)), []string{uuidA, uuidB}[rand.IntN(8)/7], uint64(3+rand.IntN(8)/7), 6, i)
			if rand.IntN(4) == 0 {
				n = excludedNode(n.address, "wsrep_ready = OFF")
			}
			nodes = append(nodes, n)
		}
		want := decideGalera(nodes, "a", false, true).primary
		rand.Shuffle(len(nodes), func(i, j int) { nodes[i], nodes[j] = nodes[j], nodes[i] })
		d := decideGalera(nodes, "a", false, true)
		require.Equal(t, want, d.primary)
		primaries := 0
		for _, r := range d.roles {
			if r.role == Primary {
				primaries++
			}
		}
		require.LessOrEqual(t, primaries, 1)
	}
}

// galeraReply returns the variables of a node that can serve.
func galeraReply() (status, settings map[string]string) {
	return map[string]string{
			"wsrep_cluster_status": "Primary", "wsrep_local_state": "4", "wsrep_local_state_comment": "Synced", "wsrep_ready": "ON",
			"wsrep_connected": "ON", "wsrep_local_index": "1", "wsrep_cluster_state_uuid": uuidA, "wsrep_cluster_conf_id": "7", "wsrep_cluster_size": "3",
		}, map[string]string{
			"wsrep_on": "ON", "wsrep_reject_queries": "NONE", "wsrep_desync": "OFF", "read_only": "OFF", "innodb_read_only": "OFF",
		}
}

func TestGaleraFacts(t *testing.T) {
	status, settings := galeraReply()
	f, err := galeraFactsOf(status, settings)
	require.NoError(t, err)
	require.Equal(t, &galeraFacts{view: galeraView{uuidA, 7, 3}, index: 1}, f)
	for _, c := range []struct{ name, value, excluded, failed string }{
		{"wsrep_on", "OFF", "it is not a node of a Galera cluster", ""},
		{"wsrep_cluster_status", "non-Primary", "wsrep_cluster_status = non-Primary", ""},
		{"wsrep_cluster_status", "Disconnected", "wsrep_cluster_status = Disconnected", ""},
		{"wsrep_local_state", "2", "wsrep_local_state = 2 (Synced)", ""},
		{"wsrep_ready", "OFF", "wsrep_ready = OFF", ""},
		{"wsrep_reject_queries", "ALL_KILL", "wsrep_reject_queries = ALL_KILL", ""},
		{"wsrep_desync", "ON", "wsrep_desync = ON", ""},
		{"pxc_maint_mode", "SHUTDOWN", "pxc_maint_mode = SHUTDOWN", ""},
		{"pxc_maint_mode", "DISABLED", "", ""},
		{"wsrep_local_index", "3", "", `expected a number below wsrep_cluster_size 3 in wsrep_local_index, got "3"`},
		{"wsrep_local_index", "-1", "", `expected a small number in wsrep_local_index, got "-1"`},
		{"wsrep_local_index", "18446744073709551615", "", `expected a small number in wsrep_local_index, got "18446744073709551615"`},
		{"wsrep_cluster_size", "", "", `expected a small number in wsrep_cluster_size, got ""`},
		{"wsrep_cluster_conf_id", "x", "", `expected a number in wsrep_cluster_conf_id, got "x"`},
		{"wsrep_cluster_state_uuid", "", "", `expected a UUID in wsrep_cluster_state_uuid, got ""`},
	} {
		status, settings := galeraReply()
		if _, found := status[c.name]; found {
			status[c.name] = c.value
		} else {
			settings[c.name] = c.value
		}
		f, err := galeraFactsOf(status, settings)
		if c.failed != "" {
			require.EqualError(t, err, c.failed)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, c.excluded, f.excluded)
	}
	for _, name := range []string{"read_only", "super_read_only", "innodb_read_only"} {
		for value, want := range map[string]string{"ON": name + " = ON", "1": name + " = 1", "NO_LOCK": name + " = NO_LOCK", "OFF": "", "0": ""} {
			status, settings := galeraReply()
			settings[name] = value
			f, err := galeraFactsOf(status, settings)
			require.NoError(t, err)
			require.Equal(t, want, f.readOnly)
		}
	}
	_, err = galeraFactsOf(status, map[string]string{"wsrep_on": "ON"})
	require.EqualError(t, err, "read variables: expected read_only, got nothing")
}

func FuzzGaleraFacts(f *testing.F) {
	status, settings := galeraReply()
	for name, value := range status {
		f.Add(name, value)
	}
	for name, value := range settings {
		f.Add(name, value)
	}
	f.Fuzz(func(t *testing.T, name, value string) {
		status, settings := galeraReply()
		status, settings = maps.Clone(status), maps.Clone(settings)
		status[name], settings[name] = value, value
		facts, err := galeraFactsOf(status, settings)
		if err != nil {
			if len(err.Error()) > 700 {
				t.Fatalf("long error: %d", len(err.Error()))
			}
			return
		}
		if facts.excluded == "" && (facts.index < 0 || facts.index >= facts.view.size) {
			t.Fatalf("index %s of %d", strconv.Itoa(facts.index), facts.view.size)
		}
	})
}

// Instances that ask the same nodes in different orders, and come from different decisions, choose the same node for writers as
// soon as the nodes agree about their membership.
func TestInstancesChooseSameGaleraWriter(t *testing.T) {
	r := rand.New(rand.NewPCG(64, 1))
	for range 200 {
		size := 1 + r.IntN(7)
		var nodes []sqlNode
		for i, index := range r.Perm(size) {
			n := member("node"+strconv.Itoa(i), uuidA, 3, size, index)
			if r.IntN(4) == 0 {
				n = excludedNode(n.address, "it is a donor")
			}
			nodes = append(nodes, n)
		}
		writers := map[string]bool{}
		for range 64 {
			own := slices.Clone(nodes)
			r.Shuffle(size, func(i, j int) { own[i], own[j] = own[j], own[i] })
			d := decideGalera(own, nodes[r.IntN(size)].address, false, true)
			writers[d.primary] = true
		}
		require.Len(t, writers, 1, "%v", nodes)
	}
}
