package overlay

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"weir/conf"
	"weir/internal/state"
)

// Save returns the changes of each cluster as the state file stores them.
func (o Overlay) Save() map[string]state.Cluster {
	saved := make(map[string]state.Cluster, len(o))
	for name, c := range o {
		m := state.Cluster{Name: name, Created: c.created, Deleted: c.deleted, Removed: c.removed, Withheld: c.withheld}
		if c.replacement != nil {
			m.Replacement = c.source
		}
		for _, a := range c.added {
			m.Added = append(m.Added, state.AddedServer{Level: a.level, Server: a.source})
		}
		saved[name] = m
	}
	return saved
}

// Restore returns the overlay of a saved state, without the changes that do not fit the file. The error describes
// those.
func Restore(saved *state.Snapshot, file *conf.Config) (Overlay, error) {
	o := Overlay{}
	var lost []error
	for i := range saved.Clusters {
		m := &saved.Clusters[i]
		if err := allowed(file, m.Replacement); err != nil {
			lost = append(lost, fmt.Errorf("clusters[%d] (%s).replacement.%w", i, m.Name, err))
		}
		for j, a := range m.Added {
			if err := allowed(file, a.Server); err != nil {
				lost = append(lost, fmt.Errorf("clusters[%d] (%s).added[%d].%w", i, m.Name, j, err))
			}
		}
		c, err := restoreCluster(m, file.Cluster(m.Name))
		if err != nil {
			lost = append(lost, fmt.Errorf("clusters[%d] (%s).%w", i, m.Name, err))
		}
		if !c.empty() {
			o[m.Name] = c
		}
	}
	if _, _, err := o.Apply(file); err == nil {
		return o, errors.Join(lost...)
	}
	for _, name := range slices.Sorted(maps.Keys(o)) { // find the clusters that cause it
		one := Overlay{name: o[name]}
		if _, _, err := one.Apply(file); err != nil {
			lost = append(lost, fmt.Errorf("cluster %s: %w", name, err))
			delete(o, name)
		}
	}
	if _, _, err := o.Apply(file); err != nil {
		return Overlay{}, errors.Join(append(lost, err)...)
	}
	return o, errors.Join(lost...)
}

// restoreCluster returns the changes of one cluster. own is the cluster of the file, or nil.
func restoreCluster(m *state.Cluster, own *conf.Cluster) (*changes, error) {
	if m.Deleted {
		return &changes{deleted: true}, nil
	}
	c := &changes{
		removed: slices.Compact(slices.Sorted(slices.Values(m.Removed))), withheld: slices.Compact(slices.Sorted(slices.Values(m.Withheld))),
	}
	base := own
	if len(m.Replacement) > 0 {
		if own == nil && !m.Created {
			return &changes{}, nil // it replaced a cluster that has left the file
		}
		replacement, err := conf.ParseCluster(m.Name, m.Replacement, own)
		if err != nil {
			return &changes{}, fmt.Errorf("replacement: %w", Invalid(err))
		}
		c.replacement, c.source, c.created = &replacement, m.Replacement, m.Created
		base = &replacement
	}
	if base == nil {
		return &changes{}, nil
	}
	var lost []error
	for i, a := range m.Added {
		server, _, err := conf.ParseServer(a.Server, base)
		if err != nil {
			lost = append(lost, fmt.Errorf("added[%d]: %w", i, Invalid(err)))
			continue
		}
		c.added = append(c.added, addedServer{server, a.Level, a.Server})
	}
	return c, errors.Join(lost...)
}
