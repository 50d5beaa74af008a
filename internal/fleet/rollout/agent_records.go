package rollout

import (
	"strconv"

	"weir/internal/fleet"
)

// reportsKey is the second segment of the keys of reports: config/reports/NODE.
const reportsKey = "reports"

// RevisionKey returns the key of a revision.
func RevisionKey(revision int) string { return fleet.Key(fleet.ConfigKey, strconv.Itoa(revision)) }

// revisionOf returns the number of a revision's key.
func revisionOf(key string) (int, bool) {
	segments, ok := fleet.Segments(key)
	if !ok || len(segments) != 2 || segments[0] != fleet.ConfigKey {
		return 0, false
	}
	n, err := strconv.Atoi(segments[1])
	return n, err == nil && n > 0 && strconv.Itoa(n) == segments[1]
}

// records is what a node knows of the store.
type records struct {
	loaded     bool
	lease      fleet.Lease // of this node; nil = none
	away       error       // why the store cannot be used; nil = it can
	record     *Record     // the last one that could be read; nil = none
	stored     bool        // the store has a record
	unreadable bool        // the record in the store is not the one above, because it cannot be read
	modified   int64       // its revision in the store; 0 = there is none
	revisions  map[int]fleet.Record
	reports    map[string]storedReport // of the nodes that share the configuration
	problems   fleet.Problems
}

// storedReport is a report with its revision in the store.
type storedReport struct {
	Report
	modified int64
}

// Bounds of what is kept.
const (
	maxNodes     = 1000
	maxRevisions = 50
)

// load takes the whole content of the store. lease is that of this node.
func (a *Agent) load(s fleet.Snapshot, lease fleet.Lease) {
	a.mu.Lock()
	k := &a.known
	*k = records{loaded: true, lease: lease, record: k.record, revisions: map[int]fleet.Record{}, reports: map[string]storedReport{}}
	for _, r := range s.Records {
		k.take(r)
	}
	a.mu.Unlock()
	a.notify()
}

// take takes a change of the store.
func (a *Agent) take(c fleet.Change) {
	a.mu.Lock()
	changed := false
	for _, r := range c.Records {
		changed = a.known.take(r) || changed
	}
	for _, key := range c.Deleted {
		changed = a.known.drop(key) || changed
	}
	a.mu.Unlock()
	if changed {
		a.notify()
	}
}

// away notes that the store cannot be used until the next load.
func (a *Agent) away(err error) {
	a.mu.Lock()
	a.known.away = err
	a.mu.Unlock()
	a.notify()
}

// take takes a record, and reports whether the agent has to look at it at once. A record that cannot be decoded is a problem
// and changes nothing.
func (k *records) take(r fleet.Record) bool {
	segments, ok := fleet.Segments(r.Key)
	if !ok {
		return false
	}
	var err error
	defer func() { k.problems.Note(r.Key, err) }()
	switch {
	case r.Key == fleet.RolloutKey:
		k.stored, k.modified = true, r.Modified
		var record *Record
		if record, err = DecodeRecord(r); err == nil {
			k.record = record
		}
		k.unreadable = err != nil
		return true
	case len(segments) == 3 && segments[0] == fleet.ConfigKey && segments[1] == reportsKey:
		var report Report
		before, known := k.reports[segments[2]]
		if report, err = DecodeReport(r); err == nil && (known || len(k.reports) < maxNodes) {
			k.reports[segments[2]] = storedReport{report, r.Modified}
		}
		return before.Instance != report.Instance || k.record != nil && k.record.Phase.Active()
	}
	if n, ok := revisionOf(r.Key); ok && (len(k.revisions) < maxRevisions || k.record != nil && k.record.Kept(n)) {
		k.revisions[n] = r
	}
	return false
}

// drop forgets a record, and reports whether the agent has to look at it at once.
func (k *records) drop(key string) bool {
	k.problems.Note(key, nil)
	if key == fleet.RolloutKey {
		k.stored, k.unreadable, k.modified = false, false, 0
		return true
	}
	if n, ok := revisionOf(key); ok {
		delete(k.revisions, n)
		return false
	}
	segments, _ := fleet.Segments(key)
	if len(segments) != 3 || segments[0] != fleet.ConfigKey || segments[1] != reportsKey {
		return false
	}
	delete(k.reports, segments[2])
	return true
}

// dropped returns the keys of the revisions that are not kept with a record.
func (k *records) dropped(next *Record) (keys []string) {
	for _, n := range sorted(k.revisions) {
		if !next.Kept(n) {
			keys = append(keys, RevisionKey(n))
		}
	}
	return keys
}

// usable reports whether this node can write.
func (k *records) usable() bool { return k.loaded && k.away == nil && k.lease != nil }

// view returns what the driver needs. The nodes with a report are live: it has their lease.
func (k *records) view() View {
	v := View{Record: k.record, Live: map[string]string{}, Reports: map[string]Report{}}
	for node, report := range k.reports {
		v.Live[node], v.Reports[node] = report.Instance, report.Report
	}
	return v
}
