package engine

// Where the nodes of a fleet disagree about servers.

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"weir/internal/fleet"
	"weir/internal/printable"
	"weir/internal/status"
)

// maxDisagreements bounds the list.
const maxDisagreements = 200

// disagreements returns the servers that have different states on nodes that have their cluster, and those about which the
// verdicts of nodes differ. splits describes these, by cluster and server.
func disagreements(nodes map[string]*fleet.NodeInfo, splits map[string]map[string]string) []status.Disagreement {
	list := []status.Disagreement{}
	servers := map[string]bool{}
	for _, n := range nodes {
		for name := range n.Servers {
			servers[name] = true
		}
	}
	for cluster, split := range splits {
		for server := range split {
			servers[cluster+"/"+server] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(servers)) {
		cluster, server, _ := strings.Cut(name, "/")
		states, differ := statesOf(nodes, cluster, name)
		verdict := splits[cluster][server]
		if (differ || verdict != "") && len(list) < maxDisagreements {
			list = append(list, status.Disagreement{Cluster: printable.Clip(cluster, printable.MaxQuote), Server: printable.Clip(server, printable.MaxQuote), States: states, Verdict: verdict})
		}
	}
	return list
}

// statesOf returns the states of a server, named CLUSTER/SERVER, by node, and whether they differ.
func statesOf(nodes map[string]*fleet.NodeInfo, cluster, name string) (states map[string]string, differ bool) {
	states = map[string]string{}
	first := ""
	for node, n := range nodes {
		if _, has := slices.BinarySearch(n.Clusters, cluster); !has || n.More > 0 && n.Servers[name] == "" {
			continue // the node does not say
		}
		state := printable.Clip(cmp.Or(n.Servers[name], "up"), printable.MaxQuote)
		states[printable.Clip(node, printable.MaxQuote)] = state
		differ = differ || first != "" && state != first
		first = state
	}
	return states, differ
}

// splitVotes describes the servers about which the verdicts of nodes differ, by cluster.
func (s *runningState) splitVotes() map[string]map[string]string {
	splits := map[string]map[string]string{}
	for name := range s.quorum {
		splits[name] = s.clusters[name].SplitVotes()
	}
	return splits
}
