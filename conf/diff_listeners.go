package conf

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// listenID is the identity of a listen socket.
type listenID struct {
	protocol string
	address  Address
}

// listeners compares listen sockets, and groups those of one listener in one step.
func (w *differ) listeners(running, wanted *Config) {
	owner := make(map[listenID]int)
	for i, l := range running.Listeners {
		for _, a := range l.Addresses {
			owner[listenID{l.Protocol, a}] = i
		}
	}
	kept := make(map[listenID]bool)
	for j := range wanted.Listeners {
		l := &wanted.Listeners[j]
		fresh := PlanStep{Action: Add, Object: ObjectListener, Name: l.Name, Protocol: l.Protocol, Note: listenerNote(l)}
		from := make(map[int][]Address)
		for _, a := range l.Addresses {
			id := listenID{l.Protocol, a}
			if i, ok := owner[id]; ok {
				kept[id] = true
				from[i] = append(from[i], a)
			} else {
				fresh.Addresses = append(fresh.Addresses, a)
			}
		}
		if len(fresh.Addresses) > 0 {
			w.steps = append(w.steps, fresh)
		}
		for _, i := range slices.Sorted(maps.Keys(from)) {
			w.add(PlanStep{
				Action: Change, Object: ObjectListener, Name: l.Name, Protocol: l.Protocol, Addresses: from[i],
				Details: w.listener(&running.Listeners[i], l),
			})
		}
	}
	for _, l := range running.Listeners {
		gone := PlanStep{Action: Remove, Object: ObjectListener, Name: l.Name, Protocol: l.Protocol}
		for _, a := range l.Addresses {
			if !kept[listenID{l.Protocol, a}] {
				gone.Addresses = append(gone.Addresses, a)
			}
		}
		if len(gone.Addresses) > 0 {
			w.steps = append(w.steps, gone)
		}
	}
}

func (w *differ) listener(a, b *Listener) []Detail {
	out := changes(w.schema.listener, listenerDraft{Listener: *a}, listenerDraft{Listener: *b})
	if x, y := showLevels(w.running, a), showLevels(w.wanted, b); !slices.Equal(a.Levels, b.Levels) || x != y && a.Cluster == b.Cluster {
		out = append(out, Detail{Key: "levels", From: x, To: y})
	}
	return append(out, routeDetails(a, b)...)
}

func listenerNote(l *Listener) string {
	if len(l.Routes) == 0 {
		return "to cluster " + l.Cluster
	}
	return fmt.Sprintf("to cluster %s, %s", l.Cluster, count(len(l.Routes), "route"))
}

// routeDetails compares the routes of two listeners, by position.
func routeDetails(a, b *Listener) (out []Detail) {
	for i := range max(len(a.Routes), len(b.Routes)) {
		x, y := a.showRoute(i), b.showRoute(i)
		if x != y {
			out = append(out, Detail{Key: fmt.Sprintf("route[%d]", i), From: x, To: y})
		}
	}
	return out
}

// showRoute formats route i, or returns "none".
func (l *Listener) showRoute(i int) string {
	if i >= len(l.Routes) {
		return "none"
	}
	if name := l.Routes[i].Name; name != "" {
		return name + ": " + l.Routes[i].String()
	}
	return l.Routes[i].String()
}

// showLevels formats the levels that a listener tries, by name and number.
func showLevels(c map[string]*Cluster, l *Listener) string {
	if l.Levels == nil {
		return "all"
	}
	var out []string
	for _, i := range l.Levels {
		out = append(out, fmt.Sprintf("#%d", i+1))
		if cl := c[l.Cluster]; cl != nil && i < len(cl.Levels) && cl.Levels[i].Name != "" {
			out[len(out)-1] = fmt.Sprintf("%s (#%d)", cl.Levels[i].Name, i+1)
		}
	}
	return strings.Join(out, ", ")
}
