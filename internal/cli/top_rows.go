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

// rate holds new sessions, bytes and failed dials per second.
type rate struct{ sessions, up, down, failures float64 }

// counts holds the counters that rates are computed from.
type counts struct{ sessions, up, down, failures uint64 }

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
		return rate{grown(now.sessions, then.sessions), grown(now.up, then.up), grown(now.down, then.down), grown(now.failures, then.failures)}
	}
	for _, l := range doc.Listeners {
		c, key := counts{l.SessionsTotal, l.BytesUp, l.BytesDown, 0}, l.Protocol+" "+l.Address
		r.listens[key] = c
		if then, ok := before.listens[key]; ok && r.known {
			x := per(c, then)
			r.total = rate{r.total.sessions + x.sessions, r.total.up + x.up, r.total.down + x.down, 0}
		}
	}
	for i := range doc.Clusters {
		for _, l := range doc.Clusters[i].Levels {
			for _, s := range l.Servers {
				c, key := counts{s.SessionsTotal, s.BytesUp, s.BytesDown, s.DialFailures}, rowKey{cluster: doc.Clusters[i].Name, server: s.Name}
				r.counted[key] = c
				if then, ok := before.counted[key]; ok && r.known {
					r.now[key] = per(c, then)
				}
			}
		}
	}
}

// orders returns the orders of rows, in the sequence in which a key selects them.
func orders() []string {
	return []string{"file", "state", "sessions", "new/s", "bytes/s", "failures/s", "name"}
}

// badness returns the rank of a state; the worst has the lowest.
func badness(state string) int {
	return slices.Index([]string{"down", "unstable", "failing", "full", "unresolved", "probation", "maint", "drain", "standby", "up"}, state)
}

// arrangement selects rows and their order.
type arrangement struct {
	filter   string // words that must all occur; a word after ! must not
	order    int    // an index of orders()
	reversed bool
	badOnly  bool // omits servers that are up or standby
}

// matches reports whether a row passes the filter, whose words are in lower case.
func (r *topRow) matches(words []string) bool {
	if len(words) == 0 {
		return true
	}
	text := strings.ToLower(strings.Join([]string{r.name(), r.level, r.Address, r.State, r.Role, r.Reason}, " "))
	for _, w := range words {
		if not, ok := strings.CutPrefix(w, "!"); ok && not != "" {
			if strings.Contains(text, not) {
				return false
			}
		} else if !strings.Contains(text, w) {
			return false
		}
	}
	return true
}

// rowsOf returns the selected servers, in order.
func rowsOf(doc *status.Document, r *rates, a arrangement) []topRow {
	var rows []topRow
	words := strings.Fields(strings.ToLower(a.filter))
	for i := range doc.Clusters {
		c := &doc.Clusters[i]
		for j := range c.Levels {
			l := &c.Levels[j]
			for k := range l.Servers {
				s := &l.Servers[k]
				row := topRow{rowKey{c.Name, l.Name, s.Name}, l.InUse, s, r.now[rowKey{cluster: c.Name, server: s.Name}]}
				if a.badOnly && (s.State == "up" || s.State == "standby") || !row.matches(words) {
					continue
				}
				rows = append(rows, row)
			}
		}
	}
	by := map[string]func(a, b topRow) int{
		"state":      func(a, b topRow) int { return cmp.Compare(badness(a.State), badness(b.State)) },
		"sessions":   func(a, b topRow) int { return cmp.Compare(b.Sessions, a.Sessions) },
		"new/s":      func(a, b topRow) int { return cmp.Compare(b.rate.sessions, a.rate.sessions) },
		"bytes/s":    func(a, b topRow) int { return cmp.Compare(b.rate.up+b.rate.down, a.rate.up+a.rate.down) },
		"failures/s": func(a, b topRow) int { return cmp.Compare(b.rate.failures, a.rate.failures) },
		"name":       func(a, b topRow) int { return cmp.Compare(a.name(), b.name()) },
	}[orders()[a.order]]
	if by != nil {
		slices.SortStableFunc(rows, by)
	}
	if a.reversed {
		slices.Reverse(rows)
	}
	return rows
}
