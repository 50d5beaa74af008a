package engine

// Servers and clusters of run time: a layer over the file. What an operator adds, takes away or replaces is kept beside
// the file's configuration, and laid over it again whenever that changes.

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"

	"weir/conf"
	"weir/internal/status"
)

// membership is what was changed at run time, by cluster. It is immutable once it is in force.
type membership map[string]*clusterLayer

// clusterLayer is what was changed in one cluster.
type clusterLayer struct {
	whole   *conf.Cluster // the cluster as put; nil = the file's
	text    []byte        // and the operator's words for it
	created bool          // the file did not describe the cluster when it was put
	gone    bool          // the file's cluster was taken away
	added   []addedServer
	removed []string // names of servers that the cluster would have otherwise, sorted
}

// addedServer is a server and the level that it is in.
type addedServer struct {
	server conf.Server
	level  string // its name, or its number counted from 1
	text   []byte // the operator's words
}

// clone copies what may be changed.
func (m membership) clone() membership {
	c := make(membership, len(m))
	for name, l := range m {
		copied := *l
		copied.added, copied.removed = slices.Clone(l.added), slices.Clone(l.removed)
		c[name] = &copied
	}
	return c
}

// of returns the layer of a cluster, made if need be.
func (m membership) of(cluster string) *clusterLayer {
	if m[cluster] == nil {
		m[cluster] = &clusterLayer{}
	}
	return m[cluster]
}

func (l *clusterLayer) empty() bool {
	return l.whole == nil && !l.gone && len(l.added) == 0 && len(l.removed) == 0
}

// over lays the changes over a file's configuration, and returns the result with those changes that still are some:
//
//   - a change to something that the file does not name any more is forgotten with it;
//   - a server or cluster of run time that the file names by now is the file's from now on;
//   - a cluster that was replaced by what the file says by now is the file's again.
//
// The file's configuration is left as it is.
func (m membership) over(file *conf.Config) (*conf.Config, membership, error) {
	kept := membership{}
	if len(m) == 0 {
		return file, kept, nil
	}
	result := *file
	result.Listeners, result.Clusters = slices.Clone(file.Listeners), nil
	named := map[string]bool{}
	for i := range file.Clusters {
		own := &file.Clusters[i]
		named[own.Name] = true
		l := m[own.Name]
		if l == nil || l.created {
			result.Clusters = append(result.Clusters, *own)
			continue
		}
		if l.gone && listenerOf(file, own.Name) == "" {
			kept[own.Name] = &clusterLayer{gone: true}
			continue
		}
		c, left := l.on(own)
		if !left.empty() {
			kept[own.Name] = left
		}
		if left.whole != nil {
			result.DropPositions(own.Name)
		}
		if err := relevel(&result, own, &c); err != nil {
			return nil, nil, err
		}
		result.Clusters = append(result.Clusters, c)
	}
	for _, name := range slices.Sorted(maps.Keys(m)) {
		if l := m[name]; l.created && !named[name] {
			c, left := l.on(l.whole)
			left.whole, left.text, left.created = l.whole, l.text, true
			kept[name] = left
			result.Clusters = append(result.Clusters, c)
		}
	}
	if err := cmp.Or(result.Loops(), result.Datagrams()); err != nil {
		return nil, nil, &status.Refusal{Text: err.Error()}
	}
	return &result, kept, nil
}

// on lays the changes over one cluster of the file, and returns what is left of them.
func (l *clusterLayer) on(own *conf.Cluster) (conf.Cluster, *clusterLayer) {
	left := &clusterLayer{}
	base := own
	if whole := l.over(own); whole != nil && !reflect.DeepEqual(whole, own) {
		base, left.whole, left.text = whole, whole, l.text
	}
	c := *base
	c.Levels = slices.Clone(base.Levels)
	for i := range c.Levels {
		servers := &c.Levels[i].Servers
		*servers = slices.Clone(*servers)
		*servers = slices.DeleteFunc(*servers, func(s conf.Server) bool {
			if !slices.Contains(l.removed, s.Name) {
				return false
			}
			if !slices.Contains(left.removed, s.Name) {
				left.removed = append(left.removed, s.Name)
			}
			return true
		})
	}
	slices.Sort(left.removed)
	for _, a := range l.added {
		i, ok := levelIndex(&c, a.level)
		if !ok || in(&c.Levels[i], a.server.Name) {
			continue
		}
		server := a.server
		if same := serverOf(&c, server.Name); same != nil { // in another level, whose word counts for all but the weight
			server = *same
			server.Weight = a.server.Weight
		}
		c.Levels[i].Servers = append(c.Levels[i].Servers, server)
		left.added = append(left.added, a)
	}
	return c, left
}

// over is the cluster as put, nil if it was not. Where the operator has put levels alone, all the rest is what the file
// says now; if that does not go with the levels, such as a check of a server that they lack, it is what the file said then.
func (l *clusterLayer) over(own *conf.Cluster) *conf.Cluster {
	if l.whole == nil || l.created || !levelsAlone(l.text) {
		return l.whole
	}
	c, err := conf.ParseCluster(own.Name, l.text, own)
	if err != nil {
		return l.whole
	}
	return &c
}

// levelsAlone tells whether an operator's words are about the levels of a cluster only.
func levelsAlone(text []byte) bool {
	var said map[string]json.RawMessage
	if json.Unmarshal(text, &said) != nil {
		return false
	}
	delete(said, "name")
	return len(said) == 1 && said["levels"] != nil
}

// levelName is how a level is named: its own name, or its number counted from 1.
func levelName(c *conf.Cluster, i int) string {
	if name := c.Levels[i].Name; name != "" {
		return name
	}
	return strconv.Itoa(i + 1)
}

func levelIndex(c *conf.Cluster, name string) (int, bool) {
	for i := range c.Levels {
		if levelName(c, i) == name {
			return i, true
		}
	}
	return 0, false
}

func in(l *conf.Level, server string) bool {
	return slices.ContainsFunc(l.Servers, func(s conf.Server) bool { return s.Name == server })
}

// serverOf finds a server of a cluster where it appears first; nil = there is none.
func serverOf(c *conf.Cluster, name string) *conf.Server {
	for i := range c.Levels {
		for j := range c.Levels[i].Servers {
			if s := &c.Levels[i].Servers[j]; s.Name == name {
				return s
			}
		}
	}
	return nil
}

// relevel has the listeners that choose levels of a cluster choose those of the same names in what takes its place.
func relevel(cfg *conf.Config, from, to *conf.Cluster) error {
	for i := range cfg.Listeners {
		ln := &cfg.Listeners[i]
		if ln.Cluster != from.Name || ln.Levels == nil {
			continue
		}
		levels := make([]int, len(ln.Levels))
		for j, old := range ln.Levels {
			at, ok := levelIndex(to, levelName(from, old))
			if !ok {
				return &status.Refusal{Why: status.Conflict, Field: "levels",
					Text: fmt.Sprintf("listener %s uses level %s of cluster %s, which would be gone", ln.Name, levelName(from, old), from.Name)}
			}
			levels[j] = at
		}
		ln.Levels = levels
	}
	return nil
}

// listenerOf names a listener that uses a cluster, or none.
func listenerOf(cfg *conf.Config, cluster string) string {
	for i := range cfg.Listeners {
		if cfg.Listeners[i].Cluster == cluster {
			return cfg.Listeners[i].Name
		}
	}
	return ""
}

// clusterOf finds a cluster of a configuration; nil = there is none.
func clusterOf(cfg *conf.Config, name string) *conf.Cluster {
	for i := range cfg.Clusters {
		if cfg.Clusters[i].Name == name {
			return &cfg.Clusters[i]
		}
	}
	return nil
}

// origin tells who put a server into a level or, without a server, who described the cluster.
func (m membership) origin(cluster, level, server string) string {
	l := m[cluster]
	if l == nil {
		return status.OriginFile
	}
	added := slices.ContainsFunc(l.added, func(a addedServer) bool { return a.level == level && a.server.Name == server })
	if added || l.whole != nil {
		return status.OriginAPI
	}
	return status.OriginFile
}

// without names what was changed by m and is not by what is left of it.
func (m membership) without(left membership) []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(m)) {
		was, is := m[name], left[name]
		if is == nil {
			is = &clusterLayer{}
		}
		if was.whole != nil && is.whole == nil || was.gone && !is.gone {
			names = append(names, name)
		}
		for _, a := range was.added {
			if !slices.ContainsFunc(is.added, func(b addedServer) bool { return b.level == a.level && b.server.Name == a.server.Name }) {
				names = append(names, name+"/"+a.server.Name)
			}
		}
		for _, server := range was.removed {
			if !slices.Contains(is.removed, server) {
				names = append(names, name+"/"+server)
			}
		}
	}
	return names
}
