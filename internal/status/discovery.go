package status

import (
	"fmt"
	"time"
)

// Discovery is the provider of a level: a source of servers outside of the file.
type Discovery struct {
	Type        string     `json:"type"`
	Source      string     `json:"source"`                  // describes it, without secrets
	Servers     int        `json:"servers"`                 // that the answer in force lists and weir can use
	AnsweredAt  *time.Time `json:"answered_at"`             // last answer, also if it was unchanged; null = none yet
	AgeSeconds  float64    `json:"age_seconds"`             // of the last answer
	ChangedAt   *time.Time `json:"changed_at,omitempty"`    // last change of the servers
	NextAt      *time.Time `json:"next_at,omitempty"`       // when the provider is asked again, at the latest
	Saved       bool       `json:"saved,omitempty"`         // the servers are those of an earlier process or configuration
	Error       string     `json:"error,omitempty"`         // of the last question; the last servers stay
	FailingFrom *time.Time `json:"failing_since,omitempty"` // the first of the failed questions
	EmptySince  *time.Time `json:"empty_since,omitempty"`   // empty answers are ignored (keep_on_empty)
	BadEntries  int        `json:"bad_entries,omitempty"`   // that cannot be used
	Bad         []BadEntry `json:"bad,omitempty"`           // the first of them
	Dropped     int        `json:"dropped,omitempty"`       // entries beyond the limit
	Questions   uint64     `json:"questions"`
	Failures    uint64     `json:"failures"`
	Changes     uint64     `json:"changes"` // of the servers
}

// BadEntry is an entry of an answer that cannot be used.
type BadEntry struct {
	Entry  string `json:"entry"`
	Reason string `json:"reason"`
}

// DiscoveryReport is what the providers of a cluster have answered.
type DiscoveryReport struct {
	Cluster   string           `json:"cluster"`
	Providers []ProviderReport `json:"providers"`
}

// ProviderReport is the provider of a level with its last good answer.
type ProviderReport struct {
	Level string `json:"level"`
	Discovery
	Entries []DiscoveredEntry `json:"entries"`
	Recent  []AnswerChange    `json:"recent_changes"` // oldest first
}

// DiscoveredEntry is an entry of an answer.
type DiscoveredEntry struct {
	Address string            `json:"address"`
	Server  string            `json:"server,omitempty"`  // its name in the level; "" = it is not used
	Options map[string]string `json:"options,omitempty"` // keys of a server that the provider sets
	Labels  map[string]string `json:"labels,omitempty"`  // others
	Reason  string            `json:"reason,omitempty"`  // why it is not used, or not as listed
}

// AnswerChange is one change of the servers that a provider lists. Lists are cut after some names.
type AnswerChange struct {
	At       time.Time `json:"at"`
	Added    []string  `json:"added,omitempty"`
	Removed  []string  `json:"removed,omitempty"`
	Changed  []string  `json:"changed,omitempty"` // other options
	AddedN   int       `json:"added_count"`
	RemovedN int       `json:"removed_count"`
	ChangedN int       `json:"changed_count"`
}

// DiscoveryMetrics are the figures of the provider of a level.
type DiscoveryMetrics struct {
	Level      string
	Type       string
	Servers    int
	Failing    bool
	AnsweredAt time.Time // zero = never
	BadEntries int
	Dropped    int
	Questions  uint64
	Failures   uint64
	Changes    uint64
}

// discoveryProblems returns the problems of the providers of a cluster.
func (c *Cluster) discoveryProblems() (list []Problem) {
	for i := range c.Levels {
		p := c.Levels[i].Discovery
		if p == nil {
			continue
		}
		who := fmt.Sprintf("provider of level %s (%s)", c.Levels[i].Name, p.Type)
		add := func(text, reason string, since *time.Time) {
			list = append(list, Problem{Severity: Warning, Cluster: c.Name, Text: who + text, Reason: reason, Since: since})
		}
		switch {
		case p.Error != "" && p.AnsweredAt == nil:
			add(" has not answered yet", p.Error, p.FailingFrom)
		case p.Error != "":
			add(fmt.Sprintf(" fails: its last %s, last answer %s ago", stay(p.Servers), roundAge(p.AgeSeconds)), p.Error, p.FailingFrom)
		case p.EmptySince != nil:
			add(fmt.Sprintf(" lists no server: its last %s", stay(p.Servers)), "keep_on_empty = true", p.EmptySince)
		}
		if p.BadEntries > 0 && p.Error == "" && len(p.Bad) > 0 {
			add(fmt.Sprintf(": %s cannot be used", entries(p.BadEntries)), fmt.Sprintf("%s: %s", p.Bad[0].Entry, p.Bad[0].Reason), nil)
		}
		if p.Dropped > 0 {
			add(fmt.Sprintf(": %s beyond the limit dropped", entries(p.Dropped)), "", nil)
		}
	}
	return list
}

func entries(n int) string {
	if n == 1 {
		return "1 entry"
	}
	return fmt.Sprintf("%d entries", n)
}

func stay(servers int) string {
	if servers == 1 {
		return "1 server stays"
	}
	return fmt.Sprintf("%d servers stay", servers)
}

// roundAge formats a number of seconds.
func roundAge(seconds float64) string {
	return time.Duration(seconds * float64(time.Second)).Round(time.Second).String()
}
