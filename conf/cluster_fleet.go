package conf

import (
	"fmt"

	"weir/conf/internal/tree"
)

// The [cluster.NAME.fleet] table: what the nodes of a fleet decide together for one cluster.

// Whose verdict decides whether a server is down.
const (
	VerdictOwn    = "own"    // that of this node
	VerdictQuorum = "quorum" // that of the majority of live nodes
)

// ClusterFleet is the part of a cluster in decisions of the fleet.
type ClusterFleet struct {
	Verdict string // VerdictOwn or VerdictQuorum
}

func clusterFleetKeys() []key[ClusterFleet] {
	return []key[ClusterFleet]{
		scalar("verdict", oneOf([]string{VerdictOwn, VerdictQuorum}, map[string]string{"local": VerdictOwn, "node": VerdictOwn, "majority": VerdictQuorum}), VerdictOwn,
			func(f *ClusterFleet) *string { return &f.Verdict },
			"Whose checks decide that a server is down: `own` those of this node, `quorum` those of more than half of the live nodes of the fleet. A server "+
				"that only a minority finds down is `failing` on the nodes that do. See [below](#clusternamefleet)."),
	}
}

func decodeClusterFleet(d *decoder, n *tree.Node, c *clusterDraft) {
	decodeTable(d, n, d.schema.clusterFleet, &c.Fleet)
	c.fleet = n
}

// warnAloneQuorums warns of clusters that wait for the verdicts of a fleet that this file does not join.
func (d *decoder) warnAloneQuorums(all *draft) {
	if all.fleet.node != nil {
		return
	}
	for i := range all.clusters {
		c := &all.clusters[i]
		if c.Fleet.Verdict == VerdictQuorum {
			n := c.fleet.Get("verdict")
			d.warnings = append(d.warnings, n.File.Diagnostic(n.Offset, n.Path(), fmt.Sprintf("this weir has no [fleet]: its own checks decide in cluster %s", c.Name)))
		}
	}
}

func (w *differ) clusterFleetDetails(a, b ClusterFleet) (list []Detail) {
	for _, d := range changes(w.schema.clusterFleet, a, b) {
		d.Key = "fleet." + d.Key
		list = append(list, d)
	}
	return list
}
