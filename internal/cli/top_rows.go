package cli

// The servers of a status document as rows: rates, filter and order.

import (
	"cmp"
	"slices"
	"strings"

	"weir/internal/status"
)

// rowKey names a server in one level.
type rowKey struct{ cluster, level, server string }

// topRow is one server in one level.
type topRow struct {
	rowKey
	inUse bool // of the level
	*status.Server
	rate rate
}

func (r *topRow) name() string { return r.cluster + "/" + r.server }

// rate holds sessions and bytes per second.
type rate struct{ sessions, up, down float64 }

// counts holds the counters that rates are computed from.
type counts struct{ sessions, up, down uint64 }

// rates computes rates from successive documents.
type rates struct {
	pid     int
	at      float64           // uptime
	counted map[rowKey]counts // of servers, without level
	now     map[rowKey]rate   // of servers, without level
	listens map[string]counts // of listeners, by protocol and address
	total   rate              // of all listeners
	known   bool              // the process has supplied an earlier document
}

// next computes the rates since the previous document. After a restart of weir there are none until the document after.
func (r *rates) next(doc *status.Document) {
	span := doc.UptimeSeconds - r.at
	before := *r
	*r = rates{pid: doc.PID, at: doc.UptimeSeconds, counted: map[rowKey]counts{}, now: map[rowKey]rate{}, listens: map[string]counts{},
		known: before.pid == doc.PID && span > 0}
	per := func(now, then counts) rate {
		grown := func(a, b uint64) float64 { return float64(a-min(a, b)) / span }
		return rate{grown(now.sessions, then.sessions), grown(now.up, then.up), grown(now.down, then.down)}
	}
	for _, l := range doc.Listeners {
		c, key := counts{l.SessionsTotal, l.BytesUp, l.BytesDown}, l.Protocol+" "+l.Address
		r.listens[key] = c
		if then, ok := before.listens[key]; ok && r.known {
			x := per(c, then)
			r.total = rate{r.total.sessions + x.sessions, r.total.up + x.up, r.total.down + x.down}
		}
	}
	for i := range doc.Clusters {
		for _, l := range doc.Clusters[i].Levels {
			for _, s := range l.Servers {
				c, key := counts{s.SessionsTotal, s.BytesUp, s.BytesDown}, rowKey{cluster: doc.Clusters[i].Name, server: s.Name}
				r.counted[key] = c
				if then, ok := before.counted[key]; ok && r.known {
					r.now[key] = per(c, then)
				}
			}
		}
	}
}

// orders returns the orders of rows, in the sequence in which a key selects them.
func orders() []string { return []string{"file", "state", "sessions", "new/s", "bytes/s", "name"} }

// badness returns the rank of a state; the worst has the lowest.
func badness(state string) int {
	return slices.Index([]string{"down", "unstable", "failing", "full", "unresolved", "probation", "maint", "drain", "standby", "up"}, state)
}

// rowsOf returns the servers that match filter, in order. badOnly omits servers that are up or standby.
func rowsOf(doc *status.Document, r *rates, filter, order string, badOnly bool) []topRow {
	var rows []topRow
	filter = strings.ToLower(filter)
	for i := range doc.Clusters {
		c := &doc.Clusters[i]
		for j := range c.Levels {
			l := &c.Levels[j]
			for k := range l.Servers {
				s := &l.Servers[k]
				row := topRow{rowKey{c.Name, l.Name, s.Name}, l.InUse, s, r.now[rowKey{cluster: c.Name, server: s.Name}]}
				text := strings.ToLower(strings.Join([]string{row.name(), l.Name, s.Address, s.State, s.Role, s.Reason}, " "))
				if badOnly && (s.State == "up" || s.State == "standby") || !strings.Contains(text, filter) {
					continue
				}
				rows = append(rows, row)
			}
		}
	}
	by := map[string]func(a, b topRow) int{
		"state":    func(a, b topRow) int { return cmp.Compare(badness(a.State), badness(b.State)) },
		"sessions": func(a, b topRow) int { return cmp.Compare(b.Sessions, a.Sessions) },
		"new/s":    func(a, b topRow) int { return cmp.Compare(b.rate.sessions, a.rate.sessions) },
		"bytes/s":  func(a, b topRow) int { return cmp.Compare(b.rate.up+b.rate.down, a.rate.up+a.rate.down) },
		"name":     func(a, b topRow) int { return cmp.Compare(a.name(), b.name()) },
	}[order]
	if by != nil {
		slices.SortStableFunc(rows, by)
	}
	return rows
}
