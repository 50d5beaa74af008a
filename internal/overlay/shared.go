package overlay

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"weir/conf"
	"weir/internal/state"
)

// Shared returns the changes of a cluster as the nodes of a fleet share them, or nil if it has none.
func (o Overlay) Shared(cluster string) json.RawMessage {
	c := o[cluster]
	if c == nil || c.empty() {
		return nil
	}
	saved := Overlay{cluster: c}.Save()[cluster]
	text, err := json.Marshal(saved)
	if err != nil {
		return nil // the texts are valid JSON
	}
	return text
}

// Changed returns the names of the clusters whose changes differ.
func (o Overlay) Changed(next Overlay) (names []string) {
	all := maps.Clone(o)
	if all == nil {
		all = Overlay{}
	}
	maps.Copy(all, next)
	for name := range all {
		if string(o.Shared(name)) != string(next.Shared(name)) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// WithShared returns the changes with those of one cluster replaced by what Shared of another node has returned; nil = none.
// It is an error if they do not fit the file.
func (o Overlay) WithShared(cluster string, text json.RawMessage, file *conf.Config) (Overlay, error) {
	next := maps.Clone(o)
	if next == nil {
		next = Overlay{}
	}
	delete(next, cluster)
	if text == nil {
		return next, nil
	}
	saved := state.Cluster{}
	if err := json.Unmarshal(text, &saved); err != nil {
		return nil, err
	}
	saved = state.Cluster{
		Name: cluster, Replacement: saved.Replacement, Created: saved.Created, Deleted: saved.Deleted,
		Added: saved.Added, Removed: saved.Removed, Withheld: saved.Withheld,
	}
	if key := Unshareable(text); key != "" {
		return nil, fmt.Errorf("%s: not accepted from other nodes", key)
	}
	if err := saved.Check(); err != nil {
		return nil, err
	}
	restored, err := Restore(&state.Snapshot{Clusters: []state.Cluster{saved}}, file)
	if err != nil {
		return nil, err
	}
	maps.Copy(next, restored)
	return next, nil
}

// Unshareable returns the first key of shared changes whose value is for one host only: a secret, or what needs
// allow_programs; "" = none. No other node runs a program or opens a file because of a record.
func Unshareable(text json.RawMessage) string {
	var saved state.Cluster
	if json.Unmarshal(text, &saved) != nil {
		return "" // it cannot be used anyway
	}
	parts := []json.RawMessage{saved.Replacement}
	for _, a := range saved.Added {
		parts = append(parts, a.Server)
	}
	for _, part := range parts { // each as a request has it: a server may be a string
		if key := cmp.Or(conf.UsesHost(part), conf.SecretKey(part)); key != "" {
			return key
		}
	}
	return ""
}
