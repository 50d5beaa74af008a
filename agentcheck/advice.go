package agentcheck

import (
	"strconv"
	"strings"
)

// Health is an agent's report on whether its server works.
type Health uint8

// The values of Health.
const (
	HealthUnset Health = iota // not in the reply: unchanged
	HealthUp                  // "up": no objection from the agent; a failing check still wins
	HealthDown                // "down", "fail", "failed" or "stopped": down at once
)

// Admin is the administrative state that an agent requests, independently of whether its server works.
type Admin uint8

// The values of Admin.
const (
	AdminUnset Admin = iota // not in the reply: unchanged
	AdminReady              // "ready": ends the agent's own drain or maint
	AdminDrain              // "drain": no new sessions
	AdminMaint              // "maint": out of service
)

// WeightKind is the kind of a weight.
type WeightKind uint8

// The values of WeightKind.
const (
	WeightUnset    WeightKind = iota // not in the reply: unchanged
	WeightPercent                    // percent of the configured weight, 0 to MaxPercent
	WeightAbsolute                   // replaces the configured weight, 0 to MaxWeight
)

// The largest numbers of a reply. Larger percentages count as MaxPercent, as in HAProxy. A word with a larger absolute
// weight or session limit is unknown.
const (
	MaxPercent  = 25600
	MaxWeight   = 256
	MaxSessions = 1<<31 - 1
)

// Weight is a weight in a reply. The zero value means that there is none.
type Weight struct {
	Kind  WeightKind
	Value int // percent or weight, by Kind
}

// Advice is one reply of an agent. Its parts are independent: a part that is not in the reply is unchanged. The zero
// value has no effect.
type Advice struct {
	Health Health
	Word   string // the health word in lower case: up, down, fail, failed or stopped
	Admin  Admin
	Weight Weight

	// MaxSessions limits the server's sessions if HasMaxSessions is set; 0 means no limit.
	MaxSessions    int
	HasMaxSessions bool

	Text    string // the text after "#", in printable characters, clipped; "" without a health word
	Unknown string // the first unknown word, in printable characters, clipped; it has no effect
}

// HasEffect reports whether the advice contains anything that has an effect.
func (a Advice) HasEffect() bool {
	return a.Health != HealthUnset || a.Admin != AdminUnset || a.Weight.Kind != WeightUnset || a.HasMaxSessions
}

// String returns the advice as a reply line without the line end.
func (a Advice) String() string {
	var words []string
	switch a.Admin {
	case AdminReady:
		words = append(words, "ready")
	case AdminDrain:
		words = append(words, "drain")
	case AdminMaint:
		words = append(words, "maint")
	}
	switch a.Weight.Kind {
	case WeightPercent:
		words = append(words, strconv.Itoa(a.Weight.Value)+"%")
	case WeightAbsolute:
		words = append(words, "weight:"+strconv.Itoa(a.Weight.Value))
	}
	if a.HasMaxSessions {
		words = append(words, "maxconn:"+strconv.Itoa(a.MaxSessions))
	}
	if a.Health != HealthUnset {
		words = append(words, a.Word)
	}
	if a.Unknown != "" {
		words = append(words, a.Unknown)
	}
	if a.Text != "" {
		words = append(words, "#"+a.Text)
	}
	return strings.Join(words, " ")
}
