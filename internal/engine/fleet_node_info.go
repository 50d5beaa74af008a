package engine

import (
	"slices"
	"strings"

	"weir/internal/fleet"
	"weir/internal/status"
)

// nodeInfo returns what this node tells the fleet about itself.
func (e *Engine) nodeInfo() fleet.NodeInfo {
	doc := e.Status()
	info := fleet.NodeInfo{
		Version: doc.Version, Started: doc.StartedAt.UTC(), Sessions: doc.Sessions, Config: e.fleet.configID(e.running.Load()),
		ProblemCount: len(doc.Problems), Servers: map[string]string{}, Clusters: []string{},
	}
	if doc.Node.State == status.NodeDrain {
		info.State, info.Reason = doc.Node.State, clip(doc.Node.Reason, fleet.MaxNodeText)
	}
	for _, p := range doc.Problems[:min(len(doc.Problems), fleet.MaxNodeProblems)] {
		info.Problems = append(info.Problems, clip(p.Text, fleet.MaxNodeText))
	}
	for _, a := range e.running.Load().cfg.Admin.Listen {
		if a.Path == "" && len(info.API) < 4 {
			info.API = append(info.API, a.String())
		}
	}
	for i := range doc.Clusters {
		c := &doc.Clusters[i]
		if len(info.Clusters) == fleet.MaxNodeClusters {
			break
		}
		info.Clusters = append(info.Clusters, clip(c.Name, fleet.MaxNodeText))
		for j := range c.Levels {
			for k := range c.Levels[j].Servers {
				s := &c.Levels[j].Servers[k]
				switch name := c.Name + "/" + s.Name; {
				case s.State == "up" || len(name) > fleet.MaxNodeText:
				case len(info.Servers) == fleet.MaxNodeServers:
					info.More++
				default:
					info.Servers[name] = s.State
				}
			}
		}
	}
	slices.Sort(info.Clusters)
	return info
}

// clip truncates a text to at most n bytes.
func clip(s string, n int) string { return strings.ToValidUTF8(s[:min(len(s), n)], "") }
