package engine

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"weir/conf"
	"weir/internal/fleet"
	"weir/internal/printable"
	"weir/internal/state"
	"weir/internal/status"
)

// configID identifies what all nodes of a fleet should have in common: the listeners and clusters of the file.
func (s *runningState) configID() string {
	text, err := json.Marshal(struct {
		Listeners []conf.Listener
		Clusters  []conf.Cluster
	}{s.file.Listeners, s.file.Clusters})
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(text)
	return fmt.Sprintf("%x", sum[:4]) // so short that it tells nothing about a password
}

// fleetLinkStatus returns how this weir is connected to its fleet; nil without one.
func (e *Engine) fleetLinkStatus() *status.FleetLink {
	m := e.fleet.member.Load()
	if m == nil {
		return nil
	}
	s := m.Brief()
	l := e.linkOf(&s)
	l.Nodes = m.NodeCount()
	e.addLimits(&l)
	return &l
}

func (e *Engine) linkOf(s *fleet.MemberStatus) status.FleetLink {
	e.fleet.mu.Lock()
	defer e.fleet.mu.Unlock()
	l := status.FleetLink{
		Node: s.Node, Connected: s.Connected, Since: s.Since, Error: printable.Clip(s.LastError, printable.MaxLine), Pending: s.Pending, Share: []string{},
		Nodes: len(s.Nodes), Ignored: len(s.Problems) + s.More + s.Omitted,
	}
	if e.fleet.spec.conf != nil {
		l.Prefix, l.Share = e.fleet.spec.conf.Prefix, append(l.Share, e.fleet.spec.conf.Share...)
	}
	rejected, more := e.fleet.problems.List()
	s.Problems = append(rejected, s.Problems...)
	l.Ignored += len(rejected) + more
	if len(s.Problems) > 0 {
		l.FirstIgnored = s.Problems[0].Error()
	}
	return l
}

// Fleet returns what this weir knows of its fleet.
func (e *Engine) Fleet() (status.Fleet, error) {
	m := e.fleet.member.Load()
	if m == nil {
		return status.Fleet{}, &status.RequestError{Kind: status.NotFound, Text: "the configuration has no [fleet]"}
	}
	s := m.Status()
	doc := status.Fleet{FleetLink: e.linkOf(&s), Members: []status.FleetNode{}, Overrides: []status.FleetOverride{}, Problems: []string{}}
	doc.Limits = e.fleetLimitStatus()
	e.addLimits(&doc.FleetLink)
	doc.Disagreements = disagreements(s.Nodes, e.running.Load().splitVotes())
	now := time.Now()
	for _, name := range slices.Sorted(maps.Keys(s.Nodes)) {
		n := s.Nodes[name]
		node := status.FleetNode{
			Name: printable.Clip(name, printable.MaxQuote), Self: n.Instance == s.Instance, Version: printable.Clip(n.Version, printable.MaxQuote), Config: printable.Clip(n.Config, printable.MaxQuote),
			UptimeSeconds: max(0, now.Sub(n.Started).Seconds()), At: n.At, Sessions: n.Sessions, API: n.API, ProblemCount: n.ProblemCount, Problems: []string{},
			State: status.NodeReady,
		}
		if n.State == status.NodeDrain {
			node.State, node.StateReason = n.State, printable.Clip(n.Reason, printable.MaxQuote)
		}
		for _, text := range n.Problems[:min(len(n.Problems), fleet.MaxNodeProblems)] {
			node.Problems = append(node.Problems, printable.Clip(text, printable.MaxQuote))
		}
		doc.Members = append(doc.Members, node)
	}
	for _, o := range s.Overrides {
		doc.Overrides = append(doc.Overrides, overrideStatus(o))
	}
	for _, p := range s.Problems {
		doc.Problems = append(doc.Problems, p.Error())
	}
	return doc, nil
}

func overrideStatus(o fleet.OverrideStatus) status.FleetOverride {
	out := status.FleetOverride{Pending: o.Pending, Local: o.Local}
	out.Cluster, out.Server, _ = fleet.ParseOverrideKey(o.Key)
	if node, ok := fleet.ParseNodeOverrideKey(o.Key); ok {
		out.Object = printable.Clip(node, printable.MaxQuote)
	}
	out.Cluster, out.Server = printable.Clip(out.Cluster, printable.MaxQuote), printable.Clip(out.Server, printable.MaxQuote)
	if o.Said == nil {
		return out
	}
	out.Node, out.By, out.Reason = printable.Clip(o.Said.Node, printable.MaxQuote), printable.Clip(o.Said.By, printable.MaxQuote), printable.Clip(o.Said.Reason, printable.MaxQuote)
	at := o.Said.At
	out.At = &at
	var v state.Override
	if out.Server == "" && o.Said.Value != nil {
		out.Text = clusterText(o.Said.Value)
		return out
	}
	if o.Said.Value == nil || json.Unmarshal(o.Said.Value, &v) != nil {
		return out
	}
	var parts []string
	if v.State != "" {
		parts = append(parts, printable.Clip(v.State, printable.MaxQuote))
	}
	if v.Weight != nil {
		parts = append(parts, fmt.Sprintf("weight %d", *v.Weight))
	}
	if v.MaxSessions != nil {
		parts = append(parts, fmt.Sprintf("max_sessions %d", *v.MaxSessions))
	}
	out.Text = strings.Join(parts, ", ")
	return out
}

// clusterText describes runtime changes of a cluster.
func clusterText(text json.RawMessage) string {
	var v state.Cluster
	if json.Unmarshal(text, &v) != nil {
		return ""
	}
	var parts []string
	switch {
	case v.Deleted:
		parts = append(parts, "removed")
	case v.Created:
		parts = append(parts, "created")
	case v.Replacement != nil:
		parts = append(parts, "replaced")
	}
	if n := len(v.Added); n > 0 {
		parts = append(parts, fmt.Sprintf("%d servers added", n))
	}
	if n := len(v.Removed) + len(v.Withheld); n > 0 {
		parts = append(parts, fmt.Sprintf("%d servers removed", n))
	}
	return strings.Join(parts, ", ")
}
