package fleet

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Verdicts is what the checks of a node find about the servers of a cluster whose verdict the fleet decides: the value of
// verdicts/NODE/CLUSTER, with the lease of the node.
type Verdicts struct {
	Down []string `json:"down"`           // names of the servers that are down, sorted, at most MaxVerdicts
	More int      `json:"more,omitempty"` // servers that are down beyond those
}

// Bounds of the verdicts that a node keeps.
const (
	MaxVerdicts     = 1000   // servers of a Verdicts
	maxVerdictLists = 20_000 // records of all nodes
)

// VerdictKey returns the key of the verdicts of a node about a cluster.
func VerdictKey(node, cluster string) string { return Key(VerdictsKey, node, cluster) }

func parseVerdictKey(key string) (node, cluster string, ok bool) {
	s, ok := Segments(key)
	if !ok || len(s) != 3 || s[0] != VerdictsKey || len(s[1]) > maxText || len(s[2]) > maxText {
		return "", "", false
	}
	return s[1], s[2], true
}

// NewVerdicts returns the verdicts with these servers down. It sorts and keeps down.
func NewVerdicts(down []string) Verdicts {
	slices.Sort(down)
	v := Verdicts{Down: down}
	if more := len(down) - MaxVerdicts; more > 0 {
		v.Down, v.More = down[:MaxVerdicts], more
	}
	return v
}

// encode returns the value of the record: fewer servers if their names are too long for all.
func (v Verdicts) encode() ([]byte, error) {
	for {
		value, err := Encode(&v, MaxValue)
		if err == nil || len(v.Down) == 0 {
			return value, err
		}
		cut := max(1, len(v.Down)/4)
		v.Down, v.More = v.Down[:len(v.Down)-cut], v.More+cut
	}
}

// decodeVerdicts decodes a record. The error is a *Problem.
func decodeVerdicts(r Record) (node, cluster string, v *Verdicts, err error) {
	node, cluster, ok := parseVerdictKey(r.Key)
	if !ok {
		return "", "", nil, &Problem{r.Key, "not the key of a node and a cluster"}
	}
	if !r.Leased {
		return "", "", nil, &Problem{r.Key, "has no lease: no node has written it"}
	}
	v = &Verdicts{}
	if err := Decode(r, MaxValue, v); err != nil {
		return "", "", nil, err
	}
	ascending := true // a name that is there twice would count twice
	for i := 1; i < len(v.Down); i++ {
		ascending = ascending && v.Down[i-1] < v.Down[i]
	}
	if len(v.Down) > MaxVerdicts || v.More < 0 || !ascending {
		return "", "", nil, &Problem{r.Key, fmt.Sprintf("down: want at most %d names, sorted, each once", MaxVerdicts)}
	}
	return node, cluster, v, nil
}

var errTooManyVerdicts = errors.New("too many verdicts")

// board is what the nodes of a fleet find about servers. The zero value is empty. It has no lock.
type board struct {
	clusters map[string]map[string]*Verdicts // by cluster and node
	records  int
	problems Problems
}

// load takes the whole content of the store.
func (b *board) load(records []Record) {
	*b = board{}
	for _, r := range records {
		if Under(r.Key, VerdictsKey) {
			b.take(r)
		}
	}
}

// take takes a record, and returns the cluster that it is about; "" = it cannot be used. Then the last one of the node stays.
func (b *board) take(r Record) (cluster string) {
	node, cluster, v, err := decodeVerdicts(r)
	if err == nil && b.clusters[cluster][node] == nil && b.records >= maxVerdictLists {
		err = &Problem{r.Key, errTooManyVerdicts.Error()}
	}
	if b.problems.Note(r.Key, err); err != nil {
		return ""
	}
	if b.clusters == nil {
		b.clusters = map[string]map[string]*Verdicts{}
	}
	if b.clusters[cluster] == nil {
		b.clusters[cluster] = map[string]*Verdicts{}
	}
	if b.clusters[cluster][node] == nil {
		b.records++
	}
	b.clusters[cluster][node] = v
	return cluster
}

// remove handles a record that was deleted, and returns the cluster that it was about.
func (b *board) remove(key string) (cluster string) {
	b.problems.Note(key, nil)
	node, cluster, ok := parseVerdictKey(key)
	if !ok || b.clusters[cluster][node] == nil {
		return ""
	}
	b.records--
	if delete(b.clusters[cluster], node); len(b.clusters[cluster]) == 0 {
		delete(b.clusters, cluster)
	}
	return cluster
}

// Votes is what the other live nodes find about the servers of a cluster. The zero value: no other node checks it.
type Votes struct {
	nodes int                 // that name all servers that they find down
	down  map[string][]string // server → nodes that find it down, sorted
	some  map[string]int      // server → how many of those do not name all
}

// votes counts what the live nodes but this one find about a cluster.
func (b *board) votes(cluster, self string, isLive func(node string) bool) Votes {
	var v Votes
	for _, node := range slices.Sorted(maps.Keys(b.clusters[cluster])) {
		if node == self || !isLive(node) {
			continue
		}
		found := b.clusters[cluster][node]
		if found.More == 0 {
			v.nodes++
		}
		for _, server := range found.Down {
			if v.down == nil {
				v.down, v.some = map[string][]string{}, map[string]int{}
			}
			v.down[server] = append(v.down[server], node)
			if found.More > 0 {
				v.some[server]++
			}
		}
	}
	return v
}

// Of returns how many other nodes say something about a server, and the names of those that find it down.
func (v *Votes) Of(server string) (nodes int, down []string) {
	return v.nodes + v.some[server], v.down[server]
}

// maxWho is the number of nodes that a text names.
const maxWho = 5

// Who lists the first names of nodes.
func Who(nodes []string) string {
	if more := len(nodes) - maxWho; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(nodes[:maxWho], ", "), more)
	}
	return strings.Join(nodes, ", ")
}
