package conf

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Diff returns the plan that leads from the running to the wanted configuration. An object that keeps its identity is
// changed, not removed and added: a listen socket is identified by protocol and address, a server by cluster and name,
// a check by cluster and id, a hook by name, a vip by address. Either side may be nil: everything is added, or removed. Both must come
// from Load or Parse.
func Diff(running, wanted *Config) Plan {
	w := differ{schema: newSchema()}
	if running != nil && wanted != nil {
		processSteps(&w, ObjectRuntime, w.schema.runtime, running.Runtime, wanted.Runtime)
		processSteps(&w, ObjectLog, w.schema.log, running.Log, wanted.Log)
		processSteps(&w, ObjectAdmin, w.schema.admin, adminDraft{Admin: running.Admin}, adminDraft{Admin: wanted.Admin})
		w.diffFleet(running.Fleet, wanted.Fleet)
	}
	if running == nil {
		running = &Config{}
	}
	if wanted == nil {
		wanted = &Config{}
	}
	w.clusters(running, wanted)
	w.listeners(running, wanted)
	w.hooks(running, wanted)
	w.vips(running, wanted)
	w.steps = append(w.steps, w.removals...)
	return Plan{Steps: w.steps}
}

type differ struct {
	schema   schema
	steps    []PlanStep
	removals []PlanStep // of clusters; they come last

	running, wanted map[string]*Cluster // by name
}

// changes compares two values key by key.
func changes[T any](keys []key[T], a, b T) []Detail {
	if reflect.DeepEqual(a, b) { // the usual case, without formatting
		return nil
	}
	var out []Detail
	for _, k := range keys {
		if k.show == nil {
			continue
		}
		if x, y := k.show(&a), k.show(&b); x != y {
			if k.secret {
				another := "another " + hidden
				if x = maskSecret(x, hidden); x != hidden {
					another = hidden
				}
				y = maskSecret(y, another)
			}
			out = append(out, Detail{Key: k.name, From: x, To: y})
		}
	}
	return out
}

// processSteps adds the steps for a table of the whole process: one for the keys that may change while weir runs, and one
// for each that may not.
func processSteps[T any](w *differ, object Object, keys []key[T], a, b T) {
	step := PlanStep{Action: Change, Object: object}
	for _, d := range changes(keys, a, b) {
		i := slices.IndexFunc(keys, func(k key[T]) bool { return k.name == d.Key })
		if reason := keys[i].fixedReason; reason != "" {
			w.steps = append(w.steps, PlanStep{Action: Change, Object: object, Details: []Detail{d}, Refused: reason})
		} else {
			step.Details = append(step.Details, d)
		}
	}
	w.add(step)
}

// add appends a step of action Change, unless nothing changes.
func (w *differ) add(step PlanStep) {
	if len(step.Details) > 0 {
		w.steps = append(w.steps, step)
	}
}

func (w *differ) clusters(running, wanted *Config) {
	w.running, w.wanted = byName(running), byName(wanted)
	for i := range wanted.Clusters {
		b := &wanted.Clusters[i]
		if a := w.running[b.Name]; a != nil {
			w.cluster(a, b)
			continue
		}
		w.steps = append(w.steps, PlanStep{Action: Add, Object: ObjectCluster, Cluster: b.Name, Name: b.Name, Note: clusterNote(b)})
	}
	for i := range running.Clusters {
		if a := &running.Clusters[i]; w.wanted[a.Name] == nil {
			w.removals = append(w.removals, PlanStep{Action: Remove, Object: ObjectCluster, Cluster: a.Name, Name: a.Name, Note: clusterNote(a)})
		}
	}
}

func byName(c *Config) map[string]*Cluster {
	m := make(map[string]*Cluster, len(c.Clusters))
	for i := range c.Clusters {
		m[c.Clusters[i].Name] = &c.Clusters[i]
	}
	return m
}

func clusterNote(c *Cluster) string {
	servers := 0
	for range c.Servers() {
		servers++
	}
	return fmt.Sprintf("%s, %s in %s", c.Balance, count(servers, "server"), count(len(c.Levels), "level"))
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func (w *differ) cluster(a, b *Cluster) {
	if reflect.DeepEqual(a, b) {
		return
	}
	w.add(PlanStep{
		Action: Change, Object: ObjectCluster, Cluster: b.Name, Name: b.Name,
		Details: slices.Concat(changes(w.schema.cluster, clusterDraft{Cluster: *a}, clusterDraft{Cluster: *b}), w.levels(a, b), w.topologyDetails(a.Topology, b.Topology), w.clusterFleetDetails(a.Fleet, b.Fleet)),
	})
	w.servers(a, b)
	w.checks(a, b)
}

// levelLabel returns a level's name, or "#" and its number counted from 1; no name contains "#".
func levelLabel(c *Cluster, i int) string {
	return cmp.Or(c.Levels[i].Name, fmt.Sprintf("#%d", i+1))
}

func levelLabels(c *Cluster) []string {
	out := make([]string, len(c.Levels))
	for i := range c.Levels {
		out[i] = levelLabel(c, i)
	}
	return out
}

// levels compares the levels of a cluster, and the order of the servers that stay in them.
func (w *differ) levels(a, b *Cluster) []Detail {
	var out []Detail
	before, after := levelLabels(a), levelLabels(b)
	if !slices.Equal(before, after) {
		out = append(out, Detail{Key: "levels", From: strings.Join(before, ", "), To: strings.Join(after, ", ")})
	}
	index := make(map[string]int, len(before))
	for i, name := range before {
		index[name] = i
	}
	for j, name := range after {
		i, ok := index[name]
		if !ok {
			continue
		}
		for _, d := range changes(w.schema.level, levelDraft{Level: a.Levels[i]}, levelDraft{Level: b.Levels[j]}) {
			d.Level = name
			out = append(out, d)
		}
		out = append(out, w.discoverDetails(a.Levels[i].Discover, b.Levels[j].Discover, name)...)
		x, y := common(a.Levels[i].Servers, b.Levels[j].Servers)
		if !slices.Equal(x, y) {
			out = append(out, Detail{Key: "order of servers", Level: name, From: strings.Join(x, ", "), To: strings.Join(y, ", ")})
		}
	}
	return out
}

// common returns the names that two lists of servers share, in the order of each.
func common(a, b []Server) (x, y []string) {
	in := func(list []Server) map[string]bool {
		m := make(map[string]bool, len(list))
		for _, s := range list {
			m[s.Name] = true
		}
		return m
	}
	inA, inB := in(a), in(b)
	for _, s := range a {
		if inB[s.Name] {
			x = append(x, s.Name)
		}
	}
	for _, s := range b {
		if inA[s.Name] {
			y = append(y, s.Name)
		}
	}
	return x, y
}

func (w *differ) checks(a, b *Cluster) {
	note := func(c *Check) string { return fmt.Sprintf("%s every %s", c.Type, showDuration(c.Interval)) }
	diffNamed(w, PlanStep{Object: ObjectCheck, Cluster: b.Name}, a.Checks, b.Checks, func(c *Check) string { return c.ID }, note,
		func(x, y *Check) []Detail {
			return changes(w.schema.check, checkDraft{Check: *x}, checkDraft{Check: *y})
		})
}

// diffNamed compares objects that are identified by their names. step is what their steps have in common.
func diffNamed[T any](w *differ, step PlanStep, running, wanted []T, name, note func(*T) string, details func(a, b *T) []Detail) {
	old := make(map[string]*T)
	for i := range running {
		old[name(&running[i])] = &running[i]
	}
	for i := range wanted {
		b, s := &wanted[i], step
		s.Name = name(b)
		a := old[s.Name]
		delete(old, s.Name)
		if a == nil {
			s.Action, s.Note = Add, note(b)
			w.steps = append(w.steps, s)
			continue
		}
		s.Action, s.Details = Change, details(a, b)
		w.add(s)
	}
	for i := range running {
		if a := &running[i]; old[name(a)] != nil {
			step.Action, step.Name, step.Note = Remove, name(a), note(a)
			w.steps = append(w.steps, step)
		}
	}
}
