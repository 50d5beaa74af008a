package limits

import (
	"errors"
	"maps"
	"slices"
	"time"

	"weir/internal/fleet"
)

// proposal is a transaction whose result is not known yet.
type proposal struct {
	records []fleet.Record // as written, without revision
	deleted []string
	own     map[string]int // own parts that are smaller than before, by limit
	from    map[string]int64
}

var errUnknown = errors.New("result unknown")

// Bounds of one transaction. The limit of etcd is 128 conditions, 128 writes and 1.5 MiB.
const (
	maxOps   = fleet.MaxTxn - 10
	maxBytes = 1 << 20
)

// draft is a transaction in the making.
type draft struct {
	fleet.Txn
	proposal
	conditions map[string]bool
	bytes      int
}

func (d *draft) require(key string, modified int64) {
	if !d.conditions[key] {
		d.conditions[key] = true
		d.If = append(d.If, fleet.Condition{Key: key, Modified: modified})
	}
}

func (d *draft) put(key string, value []byte) {
	d.Put = append(d.Put, fleet.Put{Key: key, Value: value})
	d.records = append(d.records, fleet.Record{Key: key, Value: value, Size: len(value)})
	d.bytes += len(value)
}

func (d *draft) isFull() bool { return max(len(d.If), len(d.Put)) >= maxOps || d.bytes >= maxBytes }

// propose returns a transaction if something must be written, and it is time.
func (n *Node) propose(now time.Duration) *fleet.Txn {
	n.tokens = min(maxTokens, n.tokens+tokensPerSecond*max(0, now-n.tokensAt).Seconds())
	n.tokensAt = now
	if !n.loaded || n.inFlight != nil || n.tokens < 1 || now < n.retry {
		return nil
	}
	d := &draft{conditions: map[string]bool{}, proposal: proposal{own: map[string]int{}, from: map[string]int64{}}}
	d.require(nodeKey(n.o.Name), n.view.modified(nodeKey(n.o.Name)))
	if n.ready {
		n.draftNodes(d, now)
		n.draftParts(d, now)
	}
	due := n.beatInterval()
	if len(d.Put)+len(d.Delete) == 0 && n.ready && !n.view.nodes[n.o.Name].missing && n.confirmedFor == n.o.Reserve && (due == 0 || now-n.confirmed < due) {
		return nil
	}
	if !n.ready && n.registered > 0 {
		return nil // the beat is written; its change has not arrived
	}
	if n.registered == 0 && len(n.view.parts) == 0 {
		n.grace = now + firstGrace
	}
	n.beat++
	value, _ := fleet.Encode(nodeRecord{ID: n.o.ID, Beat: n.beat, ReserveMS: n.o.Reserve.Milliseconds()}, fleet.MaxValue)
	d.put(nodeKey(n.o.Name), value)
	n.sent[0], n.sent[1] = n.sent[1], sentBeat{n.beat, now, n.o.Reserve}
	if n.o.Reserve > 0 {
		n.doubt = earlier(n.doubt, stopAt(now, n.o.Reserve))
	}
	n.tokens--
	n.inFlight = &d.proposal
	return &d.Txn
}

// draftNodes declares silent nodes gone, restores the records of others, and deletes those that are gone and hold nothing.
func (n *Node) draftNodes(d *draft, now time.Duration) {
	silent := n.silent(now)
	holds := map[string]bool{}
	for _, p := range n.view.parts {
		for _, parts := range p.limits {
			for node := range parts {
				holds[node] = true
			}
		}
	}
	for node := range holds {
		if n.view.nodes[node] == nil && node != n.o.Name {
			// Its record was deleted, or it never had one. It gets the time of a node that has just become silent.
			n.view.nodes[node] = &knownNode{record: nodeRecord{ReserveMS: n.o.Reserve.Milliseconds()}, missing: true, seen: now}
			n.view.epoch++
		}
	}
	for _, name := range slices.Sorted(maps.Keys(n.view.nodes)) {
		if name == n.o.Name || d.isFull() {
			continue
		}
		k := n.view.nodes[name]
		record := k.record
		switch {
		case slices.Contains(silent, name):
			record.Gone = goneSilent
		case k.missing:
		case record.Gone != "" && !holds[name]:
			d.require(nodeKey(name), k.modified)
			d.Delete = append(d.Delete, nodeKey(name))
			d.deleted = append(d.deleted, nodeKey(name))
			continue
		default:
			continue
		}
		d.require(nodeKey(name), k.modified)
		value, _ := fleet.Encode(record, fleet.MaxValue)
		d.put(nodeKey(name), value)
	}
}

// draftParts changes the own parts and removes those of nodes that are gone.
func (n *Node) draftParts(d *draft, now time.Duration) {
	wanted := map[string][]string{} // limits by record
	for key, l := range n.limits {
		wanted[l.record] = append(wanted[l.record], key)
	}
	records := map[string]bool{}
	for key := range wanted {
		records[key] = true
	}
	for key := range n.view.parts {
		records[key] = true
	}
	list := slices.Sorted(maps.Keys(records))
	start, _ := slices.BinarySearch(list, n.cursor)
	for i := range list {
		key := list[(start+i)%len(list)]
		if d.isFull() {
			n.cursor = key
			return
		}
		n.draftRecord(d, key, wanted[key], now)
	}
}

// draftRecord changes one record of parts, if necessary.
func (n *Node) draftRecord(d *draft, key string, limits []string, now time.Duration) {
	known := n.view.parts[key]
	if known == nil {
		known = &knownParts{}
	}
	next := maps.Clone(known.limits)
	if next == nil {
		next = map[string]map[string]Part{}
	}
	change := known.missing
	var gone []string
	smaller := map[string]int{} // own parts, by limit
	for limit, parts := range known.limits {
		for node := range parts {
			k := n.view.nodes[node]
			passes := k != nil && !k.missing && (k.record.Gone == goneForgotten || k.record.Gone == goneSilent && KindOf(limit) != PerSource)
			stale := node == n.o.Name && n.limits[limit] == nil
			if passes || stale {
				next[limit] = with(next[limit], node, nil)
				change = true
			}
			if stale {
				smaller[limit] = 0 // the limit may return before the result is known
			}
			if passes && !slices.Contains(gone, node) {
				gone = append(gone, node)
			}
		}
		if len(next[limit]) == 0 {
			delete(next, limit)
			change = true
		}
	}
	for _, limit := range limits {
		l := n.limits[limit]
		parts := next[limit]
		if l.Limit > 0 && len(parts) == 0 {
			if now >= n.grace {
				next[limit] = n.create(limit, l)
				change = true
			}
			continue
		}
		own, ok := parts[n.o.Name]
		p, differs := n.revise(limit, l, own, ok, now)
		if !differs {
			continue
		}
		if change = true; p == nil {
			next[limit] = with(parts, n.o.Name, nil)
			smaller[limit] = 0
			continue
		}
		next[limit] = with(parts, n.o.Name, p)
		if p.Held < own.Held {
			smaller[limit] = p.Held
		}
	}
	if !change {
		return
	}
	value, err := fleet.Encode(partsRecord{next}, fleet.MaxValue)
	if err != nil || len(d.If)+1+len(gone) > fleet.MaxTxn {
		n.view.problems.Note(key, err)
		return
	}
	d.require(key, known.modified)
	for _, node := range gone {
		d.require(nodeKey(node), n.view.nodes[node].modified)
	}
	d.put(key, value)
	maps.Copy(d.own, smaller)
	for limit := range smaller {
		d.from[limit] = known.modified
	}
}

// Done takes over the result of the transaction of a Step: the revision of the store, or the error of Commit.
func (n *Node) Done(revision int64, err error, now time.Duration) {
	p := n.inFlight
	if p == nil {
		return
	}
	n.inFlight = nil
	switch {
	case err == nil:
		for _, r := range p.records {
			if r.Modified = revision; n.view.modified(r.Key) < revision {
				n.view.apply(r, now)
			}
		}
		for _, key := range p.deleted {
			if n.view.modified(key) < revision {
				n.view.drop(key)
			}
		}
		n.adopt(p)
		n.follow(now)
		return
	case !errors.Is(err, fleet.ErrConflict):
		for key, held := range p.own {
			if u, ok := n.uncertain[key]; ok && u.modified == p.from[key] {
				held = min(held, u.held)
			}
			n.uncertain[key] = uncertainPart{held, p.from[key]}
		}
	}
	n.retry = now
	if n.o.Jitter != nil {
		n.retry += n.o.Jitter(250 * time.Millisecond)
	}
}

// adopt accepts the own smaller parts of a transaction: they are not lost.
func (n *Node) adopt(p *proposal) {
	for key, held := range p.own {
		if l := n.limits[key]; l != nil {
			l.known = min(l.known, held)
		}
	}
}
