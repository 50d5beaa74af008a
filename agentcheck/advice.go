package agentcheck

import (
	"strconv"
	"strings"
)

// Health is what an agent says about whether its server works.
type Health uint8

// The healths an agent can tell.
const (
	HealthUnset Health = iota // the agent did not speak of it: as before
	HealthUp                  // "up": no objection from the agent; a failing check still wins
	HealthDown                // "down", "fail", "failed" or "stopped": down at once
)

// Admin is what an agent asks for, independently of whether its server works.
type Admin uint8

// The administrative states an agent can ask for.
const (
	AdminUnset Admin = iota // the agent did not speak of it: as before
	AdminReady              // "ready": takes back the agent's own drain or maint
	AdminDrain              // "drain": no new sessions
	AdminMaint              // "maint": out of service
)

// WeightKind says how a weight is to be read.
type WeightKind uint8

// The ways an agent can speak of its server's weight.
const (
	WeightUnset    WeightKind = iota // the agent did not speak of it: as before
	WeightPercent                    // percent of the configured weight, 0 to MaxPercent
	WeightAbsolute                   // replaces the configured weight, 0 to MaxWeight
)

// The largest numbers a reply can carry. Larger percentages count as MaxPercent, as in HAProxy; a larger absolute
// weight or session limit is not a word of the grammar.
const (
	MaxPercent  = 25600
	MaxWeight   = 256
	MaxSessions = 1<<31 - 1
)

// Weight is a weight as an agent says it. The zero value says nothing.
type Weight struct {
	Kind  WeightKind
	Value int // percent or weight, by Kind
}

// Advice is one reply of an agent. Its parts are independent: what the agent did not speak of stays as it was. The zero
// value says nothing at all.
type Advice struct {
	Health Health
	Word   string // the health word as it was said, in lower case: up, down, fail, failed or stopped
	Admin  Admin
	Weight Weight

	// MaxSessions limits the server's sessions where HasMaxSessions is set; 0 means no limit.
	MaxSessions    int
	HasMaxSessions bool

	Text    string // what followed "#", in printable characters; "" unless a health word was said
	Unknown string // the first word that is not in the grammar, in printable characters; it has no effect
}

// HasEffect reports whether the advice contains anything that has an effect.
func (a Advice) HasEffect() bool {
	return a.Health != HealthUnset || a.Admin != AdminUnset || a.Weight.Kind != WeightUnset || a.HasMaxSessions
}

// String returns the advice as a line an agent could have said, without the line end.
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
