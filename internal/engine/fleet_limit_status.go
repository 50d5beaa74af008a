package engine

import (
	"maps"
	"slices"

	"weir/internal/fleet"
	"weir/internal/fleet/limits"
	"weir/internal/printable"
	"weir/internal/status"
)

// addLimits adds what an operator should know about limits.
func (e *Engine) addLimits(l *status.FleetLink) {
	k := e.limits.keeper.Load()
	if k == nil {
		return
	}
	reserved, deadline := k.Brief()
	for _, node := range reserved {
		l.Reserved = append(l.Reserved, printable.Clip(node, printable.MaxQuote))
	}
	if deadline > 0 {
		l.PartsUntil = new(e.clock().wall(deadline - e.plane.ClockOrigin()))
	}
}

// fleetLimitStatus returns the division of all limits, by name; nil if limits are not shared.
func (e *Engine) fleetLimitStatus() []status.FleetLimit {
	k := e.limits.keeper.Load()
	if k == nil {
		return nil
	}
	all, _ := k.Status()
	list := []status.FleetLimit{}
	for _, key := range slices.Sorted(maps.Keys(all)) {
		s := all[key]
		l := status.FleetLimit{Limit: s.Limit, Part: s.Part, Held: s.Held, Free: s.Free, Reserved: map[string]int{}}
		for node, n := range s.Reserved {
			l.Reserved[printable.Clip(node, printable.MaxQuote)] = n
		}
		names, _ := fleet.Segments(key)
		switch l.Kind = limits.KindOf(key).Name(); {
		case len(names) == 3:
			l.Cluster, l.Server = names[1], names[2]
		case len(names) == 2:
			l.Listener = names[1]
		}
		list = append(list, l)
	}
	return list
}
