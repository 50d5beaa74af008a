package status

// Promotion is what the kernel forwards of the sessions.
type Promotion struct {
	Interfaces []string `json:"interfaces"`        // with the program
	Problem    string   `json:"problem,omitempty"` // why sessions are not promoted, or not at all interfaces
	Sessions   int      `json:"sessions"`          // that the kernel forwards now
	Promoted   uint64   `json:"promoted_total"`    // that it has begun to forward

	// Sessions that are relayed by weir although promote is auto, and those that the kernel forwards no longer.
	Refused []ReasonCount `json:"refused"`
	Demoted []ReasonCount `json:"demoted"`
}

// problems returns what an operator should know.
func (p *Promotion) problems() []Problem {
	if p == nil || p.Problem == "" {
		return nil
	}
	return []Problem{{Severity: Warning, Text: "sessions are not promoted: weir relays them", Reason: p.Problem}}
}
