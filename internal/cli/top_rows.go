package cli

// The servers of a document as rows: with rates, chosen and in order.

import (
	"cmp"
	"slices"
	"strings"

	"weir/internal/status"
)

// rowKey names a server in one level.
type rowKey struct{ cluster, level, server string }

// topRow is one server in one level, as weir top shows it.
type topRow struct {
	rowKey
	inUse bool // the level
	*status.Server
	rate rate
}

func (r *topRow) name() string { return r.cluster + "/" + r.server }

// rate is what happens in a second.
type rate struct{ sessions, up, down float64 }

// counts is what rates are made of.
type counts struct{ sessions, up, down uint64 }

// rates compares documents.
type rates struct {
	pid     int
	at      float64           // uptime
	counted map[rowKey]counts // of servers, without level
	now     map[rowKey]rate   // per server, without level
	listens map[string]counts // of listeners, by protocol and address
	total   rate              // of all listeners
	known   bool              // there has been a document before
}

// next takes in another document of the same process, or begins anew.
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

// orders are the orders of rows, in the order in which a key chooses them.
func orders() []string { return []string{"file", "state", "sessions", "new/s", "bytes/s", "name"} }

// badness orders states, the worst first.
func badness(state string) int {
	return slices.Index([]string{"down", "unstable", "failing", "unresolved", "probation", "maint", "drain", "up"}, state)
}

// rowsOf are the servers that a filter lets through, in an order. badOnly leaves out those that are up.
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
				text := strings.ToLower(strings.Join([]string{row.name(), l.Name, s.Address, s.State, s.Reason}, " "))
				if badOnly && s.State == "up" || !strings.Contains(text, filter) {
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
