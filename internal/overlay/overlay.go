package overlay

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"weir/conf"
	"weir/internal/status"
)

// Overlay holds runtime changes by cluster name. It is immutable; nil has no changes.
type Overlay map[string]*changes

// changes are the runtime changes of one cluster.
type changes struct {
	replacement *conf.Cluster // nil = the cluster of the file
	source      []byte        // the JSON text of replacement
	created     bool          // the file had no such cluster when replacement was put
	deleted     bool          // the cluster of the file is removed
	added       []addedServer
	removed     []string // names of removed servers
	withheld    []string // names of removed servers that a provider names; they stay away until they are restored
}

type addedServer struct {
	server conf.Server
	level  string // as named by conf.Cluster.LevelName
	source []byte // the JSON text
}

func (c *changes) empty() bool {
	return c.replacement == nil && !c.deleted && len(c.added) == 0 && len(c.removed) == 0 && len(c.withheld) == 0
}

// Apply returns the configuration of a file with the runtime changes on top, and the changes that are still effective:
//
//   - a change to something that the file no longer names is dropped;
//   - a server or cluster that was added at run time and that the file now names belongs to the file;
//   - a replaced cluster that the file now describes identically belongs to the file again;
//   - a change that needs allow_programs is dropped if the file does not set it.
//
// The file's configuration is not modified.
func (o Overlay) Apply(file *conf.Config) (*conf.Config, Overlay, error) {
	kept := Overlay{}
	if len(o) == 0 {
		return file, kept, nil
	}
	o = o.permitted(file)
	result := *file
	result.Listeners, result.Clusters = slices.Clone(file.Listeners), nil
	for i := range file.Clusters {
		own := &file.Clusters[i]
		c := o[own.Name]
		if c == nil || c.created {
			result.Clusters = append(result.Clusters, *own)
			continue
		}
		if c.deleted && listenerOf(file, own.Name) == "" && vipOf(file, own.Name) == "" {
			kept[own.Name] = &changes{deleted: true}
			continue
		}
		merged, effective := c.applyTo(own)
		if !effective.empty() {
			kept[own.Name] = effective
		}
		if effective.replacement != nil {
			result.DropPositions(own.Name)
		}
		if err := remapLevels(&result, own, &merged); err != nil {
			return nil, nil, err
		}
		result.Clusters = append(result.Clusters, merged)
	}
	for _, name := range slices.Sorted(maps.Keys(o)) {
		if c := o[name]; c.created && file.Cluster(name) == nil {
			merged, effective := c.applyTo(c.replacement)
			effective.replacement, effective.source, effective.created = c.replacement, c.source, true
			kept[name] = effective
			result.Clusters = append(result.Clusters, merged)
		}
	}
	if err := result.ValidateServers(); err != nil {
		return nil, nil, &status.RequestError{Text: err.Error()}
	}
	return &result, kept, nil
}

// permitted returns the changes without those that need allow_programs, unless the file sets it.
func (o Overlay) permitted(file *conf.Config) Overlay {
	if file.Admin.AllowPrograms {
		return o
	}
	kept := make(Overlay, len(o))
	for name, c := range o {
		next := *c
		next.added = slices.DeleteFunc(slices.Clone(c.added), func(a addedServer) bool { return conf.UsesHost(a.source) != "" })
		if conf.UsesHost(c.source) != "" {
			next.replacement, next.source, next.created = nil, nil, false
			if c.created {
				continue
			}
		}
		kept[name] = &next
	}
	return kept
}

// applyTo applies the changes to a cluster of the file, and returns those that are effective.
func (c *changes) applyTo(own *conf.Cluster) (conf.Cluster, *changes) {
	effective := &changes{}
	if own.Discovers() {
		effective.withheld = c.withheld
	}
	base := own
	if replacement := c.replacementFor(own); replacement != nil && !reflect.DeepEqual(replacement, own) {
		base, effective.replacement, effective.source = replacement, replacement, c.source
	}
	merged := *base
	merged.Levels = slices.Clone(base.Levels)
	for i := range merged.Levels {
		servers := &merged.Levels[i].Servers
		*servers = slices.DeleteFunc(slices.Clone(*servers), func(s conf.Server) bool {
			removed := slices.Contains(c.removed, s.Name)
			if removed && !slices.Contains(effective.removed, s.Name) {
				effective.removed = append(effective.removed, s.Name)
			}
			return removed
		})
	}
	slices.Sort(effective.removed)
	for _, a := range c.added {
		i, ok := merged.Level(a.level)
		if !ok || contains(&merged.Levels[i], a.server.Name) {
			continue
		}
		server := a.server
		if same := merged.Server(server.Name); same != nil { // in another level, which defines all but the weight
			server = *same
			server.Weight = a.server.Weight
		}
		merged.Levels[i].Servers = append(merged.Levels[i].Servers, server)
		effective.added = append(effective.added, a)
	}
	return merged, effective
}

// replacementFor returns the cluster that replaces own, or nil. If the operator replaced only the levels, all other
// keys follow the file. If they do not match the levels, such as a check of a missing server, the keys of the file at
// the time of the change stay.
func (c *changes) replacementFor(own *conf.Cluster) *conf.Cluster {
	if c.replacement == nil || c.created || !onlyLevels(c.source) {
		return c.replacement
	}
	replacement, err := conf.ParseCluster(own.Name, c.source, own)
	if err != nil {
		return c.replacement
	}
	return &replacement
}

// onlyLevels reports whether the JSON text of a cluster sets nothing but its levels.
func onlyLevels(source []byte) bool {
	var keys map[string]json.RawMessage
	if json.Unmarshal(source, &keys) != nil {
		return false
	}
	delete(keys, "name")
	return len(keys) == 1 && keys["levels"] != nil
}

func contains(l *conf.Level, server string) bool {
	return slices.ContainsFunc(l.Servers, func(s conf.Server) bool { return s.Name == server })
}

// remapLevels makes listeners that select levels of the cluster from select the levels with the same names in to.
func remapLevels(cfg *conf.Config, from, to *conf.Cluster) error {
	for i := range cfg.Listeners {
		ln := &cfg.Listeners[i]
		if ln.Cluster != from.Name || ln.Levels == nil {
			continue
		}
		levels := make([]int, len(ln.Levels))
		for j, old := range ln.Levels {
			at, ok := to.Level(from.LevelName(old))
			if !ok {
				return &status.RequestError{Kind: status.Conflict, Field: "levels",
					Text: fmt.Sprintf("listener %s uses level %s of cluster %s, which would be gone", ln.Name, from.LevelName(old), from.Name)}
			}
			levels[j] = at
		}
		ln.Levels = levels
	}
	return nil
}

// listenerOf returns the name of a listener that uses a cluster, or "".
func listenerOf(cfg *conf.Config, cluster string) string {
	for i := range cfg.Listeners {
		if slices.Contains(cfg.Listeners[i].Clusters(), cluster) {
			return cfg.Listeners[i].Name
		}
	}
	return ""
}

// vipOf returns the address of a vip that depends on a cluster, or "".
func vipOf(cfg *conf.Config, cluster string) string {
	for i := range cfg.VIPs {
		if slices.Contains(cfg.VIPs[i].Clusters, cluster) {
			return cfg.VIPs[i].Address.String()
		}
	}
	return ""
}

// Origin returns where a server of a level comes from or, without a server, where the cluster comes from.
func (o Overlay) Origin(cluster, level, server string) string {
	c := o[cluster]
	if c == nil {
		return status.OriginFile
	}
	added := slices.ContainsFunc(c.added, func(a addedServer) bool { return a.level == level && a.server.Name == server })
	if added || c.replacement != nil {
		return status.OriginAPI
	}
	return status.OriginFile
}

// Removed returns the names of the servers that were removed from a cluster, sorted.
func (o Overlay) Removed(cluster string) []string {
	if c := o[cluster]; c != nil {
		return slices.Compact(slices.Sorted(slices.Values(slices.Concat(c.removed, c.withheld))))
	}
	return nil
}

// Dropped returns the names of what o changes and kept does not: CLUSTER or CLUSTER/SERVER.
func (o Overlay) Dropped(kept Overlay) []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(o)) {
		old, now := o[name], kept[name]
		if now == nil {
			now = &changes{}
		}
		if old.replacement != nil && now.replacement == nil || old.deleted && !now.deleted {
			names = append(names, name)
		}
		for _, a := range old.added {
			if !slices.ContainsFunc(now.added, func(b addedServer) bool { return b.level == a.level && b.server.Name == a.server.Name }) {
				names = append(names, name+"/"+a.server.Name)
			}
		}
		for _, server := range old.removed {
			if !slices.Contains(now.removed, server) {
				names = append(names, name+"/"+server)
			}
		}
	}
	return names
}
