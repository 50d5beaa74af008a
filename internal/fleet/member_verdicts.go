package fleet

// The verdicts of nodes, from which the majority of live nodes decides whether a server is down.

import (
	"context"
	"maps"
	"slices"
	"time"
)

const (
	verdictPause  = time.Second // between two writes of verdicts: a server that flaps does not fill the store
	maxSavedLists = 1000        // lists of verdicts that the state file keeps
)

// VerdictsChanged lets the member write what Verdicts returns soon.
func (m *Member) VerdictsChanged() { notify(m.wake) }

// Votes returns what the other live nodes find about a cluster, as of the last connection to the store, and when that ends
// because the store has been away for ttl; 0 = not while it can be reached. The nodes that can reach the store stop counting
// this one after the same time.
func (m *Member) Votes(cluster string) (v Votes, until time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.connected {
		if until = m.since.Add(m.o.TTL); !time.Now().Before(until) {
			return Votes{}, time.Time{}
		}
	}
	return m.board.votes(cluster, m.o.Node, func(node string) bool { return m.nodes[node] != nil || m.wasLive[node] }), until
}

// takeVerdicts takes a record of verdicts, and returns the cluster that it is about; "" = none, or this node's. mu is held.
func (m *Member) takeVerdicts(r Record) (cluster string) {
	if !Under(r.Key, VerdictsKey) {
		return ""
	}
	if node, own, ok := parseVerdictKey(r.Key); ok && node == m.o.Node && m.writtenVerdicts[own] != string(r.Value) {
		delete(m.writtenVerdicts, own) // no node writes it: write it again
	}
	return m.board.take(r)
}

// dropVerdicts handles a record that was deleted, and returns the cluster that it was about; "" = none. mu is held.
func (m *Member) dropVerdicts(key string) (cluster string) {
	if !Under(key, VerdictsKey) {
		return ""
	}
	node, own, ok := parseVerdictKey(key)
	if ok && node == m.o.Node {
		delete(m.writtenVerdicts, own) // write it again, unless this node has deleted it
	}
	return m.board.remove(key)
}

// votedOn are clusters whose votes have changed.
type votedOn struct {
	all      bool
	clusters []string
}

func (v *votedOn) note(cluster string) {
	if cluster != "" && !slices.Contains(v.clusters, cluster) {
		v.clusters = append(v.clusters, cluster)
	}
}

func (v *votedOn) tell(voted func(clusters []string)) {
	switch {
	case v.all:
		voted(nil)
	case len(v.clusters) > 0:
		voted(v.clusters)
	}
}

// writeVerdicts writes what this node finds, if that has changed. While the store is full, it deletes what is out of date: the
// other nodes then do not count this one.
func (m *Member) writeVerdicts(ctx context.Context) error {
	if now := time.Now(); now.Before(m.nextVerdicts) || now.Before(m.nextWrite) {
		return nil
	}
	t, values := m.nextVerdictsTxn()
	if len(t.Put)+len(t.Delete) == 0 {
		return nil
	}
	_, err := m.o.Store.Commit(ctx, t)
	if len(t.Put) > 0 && m.isFull(err) {
		t.Delete = append(t.Delete, keysOf(t.Put)...)
		t.Put = nil
		clear(values)
		_, err = m.o.Store.Commit(ctx, t)
	}
	if err != nil {
		return err
	}
	m.nextVerdicts = time.Now().Add(verdictPause)
	for _, key := range append(keysOf(t.Put), t.Delete...) {
		_, cluster, _ := parseVerdictKey(key)
		delete(m.writtenVerdicts, cluster)
	}
	maps.Copy(m.writtenVerdicts, values)
	return nil
}

func keysOf(puts []Put) (keys []string) {
	for _, p := range puts {
		keys = append(keys, p.Key)
	}
	return keys
}

// nextVerdictsTxn returns the transaction that writes what has changed, a part if it is much, and the values in it by cluster.
func (m *Member) nextVerdictsTxn() (t Txn, values map[string]string) {
	if m.writtenVerdicts == nil {
		m.writtenVerdicts = map[string]string{}
	}
	own, values := m.o.Verdicts(), map[string]string{}
	for _, cluster := range slices.Sorted(maps.Keys(own)) {
		value, err := own[cluster].encode()
		if err != nil || string(value) == m.writtenVerdicts[cluster] || len(t.Put) == maxWrites {
			continue // a name that no record can have, or the next write
		}
		t.Put = append(t.Put, Put{Key: VerdictKey(m.o.Node, cluster), Value: value, Lease: m.lease})
		values[cluster] = string(value)
	}
	for cluster := range m.writtenVerdicts {
		if _, ok := own[cluster]; !ok && len(t.Delete) < maxWrites {
			t.Delete = append(t.Delete, VerdictKey(m.o.Node, cluster))
		}
	}
	return t, values
}

// saveVerdicts adds what a later process continues with for ttl, so that an upgrade changes no verdict. mu is held.
func (m *Member) saveVerdicts(saved *savedMember) {
	n := 0
	saved.At = time.Now().UTC()
	for _, cluster := range slices.Sorted(maps.Keys(m.board.clusters)) {
		for node, v := range m.board.clusters[cluster] {
			if m.nodes[node] == nil || node == m.o.Node || n == maxSavedLists {
				continue
			}
			if saved.Verdicts == nil {
				saved.Verdicts = map[string]map[string]Verdicts{}
			}
			if saved.Verdicts[cluster] == nil {
				saved.Verdicts[cluster] = map[string]Verdicts{}
			}
			saved.Verdicts[cluster][node] = *v
			n++
		}
	}
}

// restoreVerdicts continues with what an earlier process has saved, unless that is older than ttl.
func (m *Member) restoreVerdicts(saved savedMember) {
	if age := time.Since(saved.At); age < 0 || age >= m.o.TTL {
		return
	}
	m.wasLive = map[string]bool{}
	for cluster, nodes := range saved.Verdicts {
		for node, v := range nodes {
			if value, err := v.encode(); err == nil && m.board.take(Record{Key: VerdictKey(node, cluster), Value: value, Leased: true}) != "" {
				m.wasLive[node] = true
			}
		}
	}
}
