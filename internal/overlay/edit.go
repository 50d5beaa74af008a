package overlay

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"weir/conf"
	"weir/internal/status"
)

// edit returns a copy of o whose changes to one cluster may be modified.
func (o Overlay) edit(cluster string) (Overlay, *changes) {
	next := make(Overlay, len(o)+1)
	maps.Copy(next, o)
	c := &changes{}
	if old := o[cluster]; old != nil {
		*c = *old
		c.added, c.removed, c.withheld = slices.Clone(old.added), slices.Clone(old.removed), slices.Clone(old.withheld)
	}
	next[cluster] = c
	return next, c
}

// AddServer adds a server, described in JSON as in the file, to a cluster of the running configuration. It returns the
// new overlay and the name of the server.
func (o Overlay) AddServer(running *conf.Config, cluster string, source []byte) (Overlay, string, error) {
	if err := allowed(running, source); err != nil {
		return nil, "", err
	}
	c := running.Cluster(cluster)
	if c == nil {
		return nil, "", NoCluster(cluster)
	}
	server, level, err := conf.ParseServer(source, c)
	if err != nil {
		return nil, "", Invalid(err)
	}
	if contains(&c.Levels[level], server.Name) {
		return nil, "", &status.RequestError{Kind: status.Conflict, Field: "name",
			Text: fmt.Sprintf("level %s of cluster %s has a server %s already", c.LevelName(level), cluster, server.Name)}
	}
	next, edited := o.edit(cluster)
	edited.added = append(edited.added, addedServer{server, c.LevelName(level), slices.Clone(source)})
	return next, server.Name, nil
}

// RemoveServer removes a server from all levels of a cluster. provided is set if a provider names it: it then stays away
// until it is restored.
func (o Overlay) RemoveServer(running *conf.Config, cluster, server string, provided bool) (Overlay, error) {
	c := running.Cluster(cluster)
	if c == nil {
		return nil, NoCluster(cluster)
	}
	if c.Server(server) == nil {
		return nil, NoServer(cluster, server)
	}
	next, edited := o.edit(cluster)
	edited.added = slices.DeleteFunc(edited.added, func(a addedServer) bool { return a.server.Name == server })
	if provided && !slices.Contains(edited.withheld, server) {
		edited.withheld = append(edited.withheld, server)
	}
	edited.removed = append(edited.removed, server) // Apply drops it if only added named the server
	return next, nil
}

// RestoreServer takes back the removal of a server of the file.
func (o Overlay) RestoreServer(running *conf.Config, cluster, server string) (Overlay, error) {
	if running.Cluster(cluster) == nil {
		return nil, NoCluster(cluster)
	}
	if !slices.Contains(o.Removed(cluster), server) {
		if running.Cluster(cluster).Server(server) == nil {
			return nil, NoServer(cluster, server)
		}
		return nil, &status.RequestError{Kind: status.Conflict, Field: "server", Text: fmt.Sprintf("server %s of cluster %s was not removed", server, cluster)}
	}
	next, edited := o.edit(cluster)
	same := func(name string) bool { return name == server }
	edited.removed, edited.withheld = slices.DeleteFunc(edited.removed, same), slices.DeleteFunc(edited.withheld, same)
	return next, nil
}

// PutCluster creates or replaces a cluster, described in JSON as in the file, and reports whether it is new. file is
// the configuration without runtime changes.
func (o Overlay) PutCluster(running, file *conf.Config, name string, source []byte) (next Overlay, created bool, err error) {
	if err := allowed(file, source); err != nil {
		return nil, false, err
	}
	old := running.Cluster(name)
	c, err := conf.ParseCluster(name, source, old)
	if err != nil {
		return nil, false, Invalid(err)
	}
	put := &changes{replacement: &c, source: slices.Clone(source), created: file.Cluster(name) == nil}
	if before := o[name]; before != nil {
		put.withheld = before.withheld
	}
	if before := o[name]; before != nil && before.replacement != nil {
		put.source = mergeLevels(before.source, source)
	}
	next, edited := o.edit(name)
	*edited = *put
	return next, old == nil, nil
}

// allowed returns an error if a request needs allow_programs and cfg does not set it.
func allowed(cfg *conf.Config, source []byte) error {
	if cfg.Admin.AllowPrograms {
		return nil
	}
	if field := conf.UsesHost(source); field != "" {
		return &status.RequestError{Kind: status.Forbidden, Field: field,
			Text: "requests may not run programs or name files and variables of this host; set admin.allow_programs = true to allow it"}
	}
	return nil
}

// mergeLevels returns the JSON text of a cluster that is replaced again: if the new text sets only the levels, all
// other keys of the old one stay.
func mergeLevels(old, source []byte) []byte {
	var keys, replaced map[string]json.RawMessage
	if !onlyLevels(source) || json.Unmarshal(old, &keys) != nil || json.Unmarshal(source, &replaced) != nil {
		return slices.Clone(source)
	}
	keys["levels"] = replaced["levels"]
	merged, err := json.Marshal(keys)
	if err != nil {
		return slices.Clone(source)
	}
	return merged
}

// RemoveCluster removes a cluster that no listener uses.
func (o Overlay) RemoveCluster(running *conf.Config, name string) (Overlay, error) {
	if running.Cluster(name) == nil {
		return nil, NoCluster(name)
	}
	if user := listenerOf(running, name); user != "" {
		return nil, &status.RequestError{Kind: status.Conflict, Text: fmt.Sprintf("listener %s uses cluster %s", user, name)}
	}
	if user := vipOf(running, name); user != "" {
		return nil, &status.RequestError{Kind: status.Conflict, Text: fmt.Sprintf("vip %s depends on cluster %s", user, name)}
	}
	next, edited := o.edit(name)
	if edited.created {
		delete(next, name)
	} else {
		*edited = changes{deleted: true}
	}
	return next, nil
}

// NoCluster returns the error of a request that names an unknown cluster.
func NoCluster(name string) error {
	return &status.RequestError{Kind: status.NotFound, Field: "cluster", Text: "no cluster " + name}
}

// NoServer returns the error of a request that names an unknown server.
func NoServer(cluster, name string) error {
	return &status.RequestError{Kind: status.NotFound, Field: "server", Text: fmt.Sprintf("cluster %s has no server %s", cluster, name)}
}

// Invalid returns the error of a request with mistakes: the field of the first one and the texts of all.
func Invalid(err error) error {
	var ms conf.Errors
	if !errors.As(err, &ms) {
		return &status.RequestError{Text: err.Error()}
	}
	var texts []string
	for i, m := range ms {
		text := m.Msg
		if i > 0 && m.Path != "" {
			text = m.Path + ": " + text
		}
		texts = append(texts, text)
	}
	return &status.RequestError{Field: ms[0].Path, Text: strings.Join(texts, "; ")}
}
