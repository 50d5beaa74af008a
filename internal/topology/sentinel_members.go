package topology

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// listing is the replicas that one Sentinel lists.
type listing struct {
	replicas []listedReplica
	problem  string // why the list is incomplete; "" = it is complete
	received bool   // the Sentinel has been asked for it
}

// listedReplica is a replica with the addresses of its host.
type listedReplica struct {
	target
	down string // as in replica
}

// members returns the known servers, from the lists of the Sentinels that name the primary. A replica is known while one
// of them lists it, and out of service while quorum of them say so. The result is sorted by address, and dropped is the
// number of servers beyond MaxMembers.
func members(d *decision, votes []vote, lists []listing, quorum int, servers []Server) (list []Member, dropped int) {
	source := d.source()
	add := func(t target, role Role, reason string) {
		found := false
		for _, s := range servers {
			if t.is(s) {
				found = true
				list = append(list, Member{s.Name, t.address, role, reason})
			}
		}
		if !found {
			list = append(list, Member{"", t.address, role, reason})
		}
	}
	switch {
	case len(d.rivals) > 0:
		for _, t := range d.rivals {
			add(t, Unknown, source)
		}
	case d.primary.address != "":
		add(d.primary, Primary, source)
	}
	special := append([]target{d.primary}, d.rivals...)
	type known struct {
		listedReplica
		down map[string]int // by the flags that take it out of service: Sentinels
		n    int
	}
	replicas := map[string]*known{}
	for i, l := range lists {
		if votes[i].state != named || !votes[i].target.same(d.primary) || twin(votes, i) >= 0 {
			continue
		}
		for _, r := range l.replicas {
			if slices.ContainsFunc(special, r.same) {
				continue
			}
			k := replicas[r.address]
			if k == nil {
				k = &known{listedReplica: r, down: map[string]int{}}
				replicas[r.address] = k
			}
			if len(k.addresses) == 0 {
				k.addresses = r.addresses
			}
			if r.down != "" {
				k.n++
				k.down[r.down]++
			}
		}
	}
	if p := d.previous; p.address != "" && replicas[p.address] == nil && !slices.ContainsFunc(special, p.same) {
		add(p, Other, source) // the replaced primary, until it follows the new one
	}
	for _, address := range slices.Sorted(maps.Keys(replicas)) {
		k := replicas[address]
		if len(list) >= MaxMembers {
			dropped++
			continue
		}
		if k.n < quorum {
			add(k.target, Replica, source)
			continue
		}
		add(k.target, Other, "replica is "+strings.Join(slices.Sorted(maps.Keys(k.down)), " or "))
	}
	list = unique(list)
	dropped += max(0, len(list)-MaxMembers)
	return list[:min(len(list), MaxMembers)], dropped
}

// withKnown adds the servers that were known before to a list that lacks them because Sentinels have not been asked for their
// lists yet. A primary that was replaced is not among them.
func withKnown(list, before []Member) []Member {
	for _, m := range before {
		known := func(o Member) bool { return o.Address == m.Address || m.Name != "" && o.Name == m.Name }
		if m.Role != Primary && len(list) < MaxMembers && !slices.ContainsFunc(list, known) {
			list = append(list, m)
		}
	}
	return unique(list)
}

// unique sorts members by address and keeps one role for each server: the one that was added first.
func unique(list []Member) []Member {
	seen := map[string]bool{}
	list = slices.DeleteFunc(list, func(m Member) bool {
		was := seen[m.Name]
		seen[m.Name] = true
		return m.Name != "" && was
	})
	slices.SortStableFunc(list, func(a, b Member) int {
		return strings.Compare(a.Address+" "+a.Name, b.Address+" "+b.Name)
	})
	return list
}

// source describes the decision.
func (d *decision) source() string {
	switch {
	case len(d.rivals) > 0:
		return "sentinel: " + d.problem
	case d.primary.address == "":
		return "sentinel: the primary is not known yet"
	}
	return fmt.Sprintf("sentinel: primary is %s, epoch %d", d.primary.address, d.epoch)
}
