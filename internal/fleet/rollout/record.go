package rollout

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"weir/internal/fleet"
)

// Phase is how far a roll-out has come.
type Phase string

// The phases.
const (
	Validating Phase = "validating"
	Canary     Phase = "canary"
	Step       Phase = "step"
	Rest       Phase = "rest"
	Done       Phase = "done"
	Refused    Phase = "refused"
	RolledBack Phase = "rolled_back"
)

// Active reports whether a roll-out in this phase needs a driver.
func (p Phase) Active() bool { return p == Validating || p == Canary || p == Step || p == Rest }

// Limits on records, so that a foreign value cannot fill a node.
const (
	MaxHistory = 10 // revisions that are kept

	maxName   = 255
	maxText   = 500 // bytes of a reason
	maxPause  = time.Hour
	maxInStep = 32 // nodes that the steps before the rest have together
)

// Record is the one record of the roll-out in the store: the last one, until the next begins.
type Record struct {
	ID       uint64        `json:"id"` // of the roll-out; counts from 1
	Phase    Phase         `json:"phase"`
	From     int           `json:"from"` // the revision before; 0 = the file of each node
	To       int           `json:"to"`
	Previous int           `json:"previous"`          // that was in force before the current one; see Undo
	Last     int           `json:"last"`              // the highest revision so far
	Targets  []string      `json:"targets,omitempty"` // nodes that have to run To in the phases canary and step
	Watched  []string      `json:"watched,omitempty"` // those of Targets that the current phase has added
	Canaries int           `json:"canaries"`          // nodes of the phase canary; 0 = all nodes at once, in the phase rest
	Pause    time.Duration `json:"pause_ns"`          // how long each phase is watched
	Driver   Member        `json:"driver"`
	Takeover bool          `json:"takeover,omitempty"` // the driver has replaced one that has left
	Clear    bool          `json:"clear,omitempty"`    // To is 0, and no revision is kept when it is done
	By       string        `json:"by"`                 // the operator
	Began    time.Time     `json:"began"`
	Ended    time.Time     `json:"ended,omitzero"`
	Reason   Reason        `json:"reason,omitzero"` // why it was refused or rolled back
	History  []Entry       `json:"history"`         // of finished roll-outs, oldest first; at most MaxHistory
}

// Member is one life of a node: the same name with another instance is a process that has started later.
type Member struct {
	Node     string `json:"node"`
	Instance string `json:"instance"`
}

// Reason is why a roll-out did not succeed.
type Reason struct {
	Node string `json:"node,omitempty"` // "" = no single node
	Text string `json:"text"`
}

// String formats the reason as NODE: TEXT.
func (r Reason) String() string {
	if r.Node == "" {
		return r.Text
	}
	return r.Node + ": " + r.Text
}

// Entry is a finished roll-out.
type Entry struct {
	Revision int       `json:"revision"`
	Phase    Phase     `json:"phase"`
	By       string    `json:"by"`
	Ended    time.Time `json:"ended"`
	Reason   string    `json:"reason,omitempty"`
}

// Current returns the revision that is in force, or that was before the roll-out in progress; 0 = the file of each node.
func (r *Record) Current() int {
	if r.Phase == Done {
		return r.To
	}
	return r.From
}

// Wanted returns the revision that a node has to run; 0 = its file.
func (r *Record) Wanted(node string) int {
	switch r.Phase {
	case Canary, Step:
		if slices.Contains(r.Targets, node) {
			return r.To
		}
	case Rest, Done:
		return r.To
	}
	return r.From
}

// Kept reports whether the text of a revision has to stay in the store: the last MaxHistory and those in use.
func (r *Record) Kept(revision int) bool {
	if r.Clear && r.Phase == Done {
		return false
	}
	return revision > r.Last-MaxHistory || revision == r.From || revision == r.To || revision == r.Previous
}

// finished returns the record of the end of the roll-out.
func (r *Record) finished(phase Phase, why Reason, at time.Time) *Record {
	n := *r
	n.Phase, n.Reason, n.Ended = phase, Reason{clip(why.Node, maxName), clip(why.Text, maxText)}, at
	n.Targets, n.Watched = nil, nil
	if phase == Done {
		n.Previous = r.From
	}
	if phase == Done && r.Clear {
		n.Previous = 0
	}
	n.History = append(slices.Clone(r.History), Entry{Revision: r.To, Phase: phase, By: r.By, Ended: at, Reason: n.Reason.String()})
	if over := len(n.History) - MaxHistory; over > 0 {
		n.History = n.History[over:]
	}
	return &n
}

// Encode returns the record as it is stored.
func (r *Record) Encode() []byte { return encode(r) }

// DecodeRecord decodes the record of the store and checks its bounds. The value may come from anyone.
func DecodeRecord(from fleet.Record) (*Record, error) {
	var r Record
	if err := fleet.Decode(from, fleet.MaxValue, &r); err != nil {
		return nil, err
	}
	if err := r.check(); err != nil {
		return nil, &fleet.Problem{Key: from.Key, Text: err.Error()}
	}
	return &r, nil
}

func (r *Record) check() error {
	switch {
	case !slices.Contains([]Phase{Validating, Canary, Step, Rest, Done, Refused, RolledBack}, r.Phase):
		return fmt.Errorf("phase: unknown phase %.20q", r.Phase)
	case r.From < 0 || r.To < 0 || r.Previous < 0 || r.Last < max(r.From, r.To, r.Previous):
		return errors.New("a revision is out of range")
	case r.Clear && r.To != 0:
		return errors.New("clear: want the revision 0")
	case r.Canaries < 0 || r.Pause < 0 || r.Pause > maxPause:
		return errors.New("canaries or pause is out of range")
	case len(r.History) > MaxHistory || len(r.Targets) > maxInStep || len(r.Watched) > len(r.Targets):
		return errors.New("a list is too long")
	case len(r.By) > maxText || len(r.Driver.Node) > maxName || len(r.Driver.Instance) > maxName || len(r.Reason.Text) > maxText || len(r.Reason.Node) > maxName:
		return errors.New("a text is too long")
	}
	for _, node := range r.Targets {
		if len(node) > maxName {
			return errors.New("a name is too long")
		}
	}
	for _, e := range r.History {
		if len(e.By) > maxText || len(e.Reason) > maxText+maxName+2 {
			return errors.New("a text of the history is too long")
		}
	}
	return nil
}

// Revision is a shared configuration in the store.
type Revision struct {
	Text string    `json:"text"` // TOML
	By   string    `json:"by"`
	Node string    `json:"node"` // that stored it
	At   time.Time `json:"at"`
}

// Encode returns the revision as it is stored. It is an error if it is larger than fleet.MaxConfig.
func (r Revision) Encode() ([]byte, error) { return fleet.Encode(r, fleet.MaxConfig) }

// DecodeRevision decodes a revision of the store.
func DecodeRevision(from fleet.Record) (r Revision, err error) {
	err = fleet.Decode(from, fleet.MaxConfig, &r)
	return r, err
}

// encode encodes a value whose size its own limits bound.
func encode(value any) []byte {
	text, err := fleet.Encode(value, fleet.MaxValue)
	if err != nil {
		panic(err)
	}
	return text
}
