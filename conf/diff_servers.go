package conf

import (
	"fmt"
	"slices"
	"strings"
)

// placement is a server with the levels that it is in.
type placement struct {
	server  Server
	levels  []string
	weights []int
}

func placements(c *Cluster) (byName map[string]*placement, order []string) {
	byName = make(map[string]*placement)
	for i, l := range c.Levels {
		for _, s := range l.Servers {
			p := byName[s.Name]
			if p == nil {
				p = &placement{server: s}
				byName[s.Name] = p
				order = append(order, s.Name)
			}
			p.levels = append(p.levels, levelLabel(c, i))
			p.weights = append(p.weights, s.Weight)
		}
	}
	return byName, order
}

func (p *placement) note() string {
	weights := make([]string, len(p.weights))
	for i, w := range p.weights {
		weights[i] = fmt.Sprint(w)
	}
	return fmt.Sprintf("%s, level %s, weight %s", p.server.Address, strings.Join(p.levels, ", "), strings.Join(weights, ", "))
}

func (w *differ) servers(a, b *Cluster) {
	old, before := placements(a)
	wanted, after := placements(b)
	for _, name := range after {
		x, y := old[name], wanted[name]
		if x == nil {
			w.steps = append(w.steps, PlanStep{Action: Add, Object: ObjectServer, Cluster: b.Name, Name: name, Note: y.note()})
			continue
		}
		w.add(PlanStep{Action: Change, Object: ObjectServer, Cluster: b.Name, Name: name, Details: w.server(x, y)})
	}
	for _, name := range before {
		if wanted[name] == nil {
			w.steps = append(w.steps, PlanStep{Action: Remove, Object: ObjectServer, Cluster: b.Name, Name: name, Note: old[name].note()})
		}
	}
}

// server compares one server: its levels, its weight in each, then the other keys.
func (w *differ) server(x, y *placement) (out []Detail) {
	if !slices.Equal(x.levels, y.levels) {
		out = append(out, Detail{Key: "level", From: strings.Join(x.levels, ", "), To: strings.Join(y.levels, ", ")})
	}
	weight := func(level string, i, j int) {
		if x.weights[i] != y.weights[j] {
			out = append(out, Detail{"weight", level, fmt.Sprint(x.weights[i]), fmt.Sprint(y.weights[j])})
		}
	}
	if len(x.levels) == 1 && len(y.levels) == 1 {
		weight("", 0, 0)
	} else {
		index := make(map[string]int, len(x.levels))
		for i, l := range x.levels {
			index[l] = i
		}
		for j, l := range y.levels {
			if i, ok := index[l]; ok {
				weight(l, i, j)
			}
		}
	}
	rest := y.server
	rest.Weight = x.server.Weight // compared above
	return append(out, changes(w.schema.server, x.server, rest)...)
}
