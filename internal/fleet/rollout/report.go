package rollout

import (
	"strings"

	"weir/internal/fleet"
	"weir/internal/printable"
)

// Report is what a node says of itself. It ends with the node's lease.
type Report struct {
	Instance string  `json:"instance"`
	Runs     int     `json:"runs"` // the revision in force; 0 = its file
	Failure  Failure `json:"failure,omitzero"`
	Vote     Vote    `json:"vote"`

	Before  Figures `json:"before"`  // of the minute before its vote; its problems then
	Applied Figures `json:"applied"` // counters when it began to run Runs
	Now     Figures `json:"now"`
}

// Vote is what a node says about the new revision of a roll-out.
type Vote struct {
	ID    uint64 `json:"id"`              // of the roll-out; 0 = none yet
	Error string `json:"error,omitempty"` // why it is against; "" = it can apply the revision
	Plan  string `json:"plan,omitempty"`  // what would change, shortened
}

// Figures are what a configuration is judged by. Counters count from the start of the process.
type Figures struct {
	Sessions uint64   `json:"sessions"`           // clients accepted
	Failed   uint64   `json:"failed"`             // sessions that ended because no server could serve them
	Refused  uint64   `json:"refused"`            // clients rejected
	Problems []string `json:"problems,omitempty"` // critical ones and warnings
}

// Limits on what is read from a report.
const (
	MaxProblems = 20
	MaxProblem  = 200 // bytes
	MaxPlan     = 2000
)

// Encode returns the report as it is stored.
func (r Report) Encode() []byte {
	r.Failure.Error, r.Vote.Error, r.Vote.Plan = clip(r.Failure.Error, maxText), clip(r.Vote.Error, maxText), clip(r.Vote.Plan, MaxPlan)
	for _, f := range []*Figures{&r.Before, &r.Applied, &r.Now} {
		f.Problems = f.bounded()
	}
	return encode(r)
}

// bounded returns the first problems, shortened.
func (f *Figures) bounded() []string {
	var list []string
	for _, p := range f.Problems[:min(len(f.Problems), MaxProblems)] {
		list = append(list, clip(p, MaxProblem))
	}
	return list
}

// DecodeReport decodes a report of the store.
func DecodeReport(from fleet.Record) (r Report, err error) {
	if err = fleet.Decode(from, fleet.MaxValue, &r); err != nil {
		return r, err
	}
	if r.Runs < otherText || len(r.Instance) > maxName {
		return r, &fleet.Problem{Key: from.Key, Text: "a value is out of range"}
	}
	return r, nil
}

// clip makes a text printable and cuts it to n bytes.
func clip(s string, n int) string { return printable.Clip(s, n-len("…")) }

// ProblemKey returns a problem without a number at its start, which may change from second to second.
func ProblemKey(cluster, text string) string {
	return clip(cluster+": "+strings.TrimLeft(text, "0123456789"), MaxProblem)
}
