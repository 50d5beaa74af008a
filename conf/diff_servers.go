package conf

import (
	"fmt"
	"slices"
	"strings"
)

// placement is a server and the levels that it is in.
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
			w.steps = append(w.steps, PlanStep{Action: Add, Object: ObjectServer, Cluster: b.Name, Name: name, Note: y.note(), Rebalances: true})
			continue
		}
		if step := w.server(x, y); len(step.Details) > 0 {
			step.Action, step.Object, step.Cluster, step.Name = Change, ObjectServer, b.Name, name
			w.steps = append(w.steps, step)
		}
	}
	for _, name := range before {
		if wanted[name] == nil {
			w.steps = append(w.steps, PlanStep{Action: Remove, Object: ObjectServer, Cluster: b.Name, Name: name, Note: old[name].note(), Rebalances: true})
		}
	}
}

// server compares one server: its levels, its weight in each, then the rest.
func (w *differ) server(x, y *placement) (step PlanStep) {
	if !slices.Equal(x.levels, y.levels) {
		step.Details = append(step.Details, Detail{Key: "level", From: strings.Join(x.levels, ", "), To: strings.Join(y.levels, ", ")})
		step.Rebalances = true
	}
	weight := func(level string, i, j int) {
		if x.weights[i] != y.weights[j] {
			step.Details = append(step.Details, Detail{"weight", level, fmt.Sprint(x.weights[i]), fmt.Sprint(y.weights[j])})
			step.Rebalances = true
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
	rest.Weight = x.server.Weight // which has been compared
	for _, c := range changes(w.schema.server, x.server, rest) {
		step.Details = append(step.Details, c.Detail)
		step.Rebalances = step.Rebalances || c.part == partBalancing
	}
	return step
}
