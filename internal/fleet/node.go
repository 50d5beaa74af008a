package fleet

import (
	"fmt"
	"time"
)

// NodeInfo is what a node tells the others about itself: the value of nodes/NODE.
type NodeInfo struct {
	Instance string    `json:"instance"` // of the process; a node continues with the record of the process before it
	Version  string    `json:"version"`
	Config   string    `json:"config"` // identifies the text of the configuration in force
	Started  time.Time `json:"started"`
	At       time.Time `json:"at"` // of this record
	Sessions int       `json:"sessions"`
	State    string    `json:"state,omitempty"`        // "drain" while an operator has drained the node
	Reason   string    `json:"state_reason,omitempty"` // of State
	API      []string  `json:"api,omitempty"`          // TCP addresses of its API

	Problems     []string `json:"problems,omitempty"` // the worst first, at most MaxNodeProblems
	ProblemCount int      `json:"problem_count"`

	Clusters []string          `json:"clusters"`          // names, sorted, at most MaxNodeClusters
	Servers  map[string]string `json:"servers,omitempty"` // CLUSTER/SERVER → state, of servers that are not up, at most MaxNodeServers
	More     int               `json:"more,omitempty"`    // servers that are not up beyond those
}

// Bounds of a NodeInfo, which must fit into a record.
const (
	MaxNodeProblems = 10
	MaxNodeClusters = 300
	MaxNodeServers  = 300
	MaxNodeText     = 120 // bytes of each text in the lists

	maxNodes = 1000 // that a node keeps
)

func nodeKey(name string) string { return Key(NodesKey, name) }

// decodeNode decodes a node record and returns the node's name. The error is a *Problem.
func decodeNode(r Record) (name string, info *NodeInfo, err error) {
	segments, ok := Segments(r.Key)
	if !ok || len(segments) != 2 || len(segments[1]) > maxText {
		return "", nil, &Problem{r.Key, "not the key of a node"}
	}
	if !r.Leased {
		return "", nil, &Problem{r.Key, "has no lease: no node has written it"}
	}
	info = &NodeInfo{}
	if err := Decode(r, MaxValue, info); err != nil {
		return "", nil, err
	}
	for _, text := range []string{info.Instance, info.Version, info.Config, info.State, info.Reason} {
		if len(text) > maxText {
			return "", nil, &Problem{r.Key, fmt.Sprintf("a text is longer than %d bytes", maxText)}
		}
	}
	if info.Instance == "" {
		return "", nil, &Problem{r.Key, "instance: missing"}
	}
	return segments[1], info, nil
}

// sameState reports whether two records differ in times and sessions only.
func (n *NodeInfo) sameState(other *NodeInfo) bool {
	a, b := *n, *other
	a.At, b.At, a.Sessions, b.Sessions = time.Time{}, time.Time{}, 0, 0
	x, errX := Encode(&a, MaxConfig)
	y, errY := Encode(&b, MaxConfig)
	return errX == nil && errY == nil && string(x) == string(y)
}
