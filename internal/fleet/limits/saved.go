package limits

import (
	"crypto/rand"
	"encoding/json"
	"time"
)

// saved is the JSON that Save writes.
type saved struct {
	Prefix    string               `json:"prefix"`
	Node      string               `json:"node"`
	Boot      string               `json:"boot"`
	ID        string               `json:"id"`
	Beat      int64                `json:"beat"`
	Confirmed time.Duration        `json:"confirmed"` // on the clock of the machine
	Reserve   time.Duration        `json:"reserve"`   // that was declared then
	Doubt     time.Duration        `json:"doubt,omitempty"`
	Parts     map[string]int       `json:"parts"`
	Uncertain map[string]savedPart `json:"uncertain,omitempty"`
}

type savedPart struct {
	Held     int   `json:"held"`
	Modified int64 `json:"modified"`
}

// beatGap keeps the beats of a process apart from those that an earlier one may still have under way.
const beatGap = 1 << 20

// Save returns what a later process of the same node continues with. It is nil unless the keeper is frozen: parts that are
// given back later must not be used.
func (k *Keeper) Save() json.RawMessage {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := k.node
	if !k.frozen || !n.ready {
		return nil
	}
	s := saved{
		Prefix: k.o.Prefix, Node: k.o.Node, Boot: k.o.Boot, ID: n.o.ID, Beat: n.beat, Confirmed: n.confirmed, Reserve: n.confirmedFor, Doubt: n.doubt,
		Parts: map[string]int{}, Uncertain: map[string]savedPart{},
	}
	for key, l := range n.limits {
		s.Parts[key] = n.reliable(key, l)
	}
	for key, u := range n.uncertain {
		s.Uncertain[key] = savedPart{u.held, u.modified}
	}
	if p := n.inFlight; p != nil {
		for key, held := range p.own {
			s.Uncertain[key] = savedPart{held, p.from[key]}
		}
	}
	text, err := json.Marshal(s)
	if err != nil {
		return nil // it has only values that JSON can have
	}
	return text
}

// restore returns a node that continues with what was saved, if it is of this node and still holds.
func restore(options Options, o KeeperOptions, now time.Duration) *Node {
	var s saved
	if json.Unmarshal(o.Saved, &s) != nil || s.Prefix != o.Prefix || s.Node != o.Node || s.ID == "" || s.Boot != o.Boot && (s.Reserve > 0 || s.Doubt > 0) {
		options.ID = rand.Text()
		return New(options, now)
	}
	options.ID = s.ID
	n := New(options, now)
	n.beat, n.confirmed, n.confirmedFor, n.proven, n.doubt = s.Beat+beatGap, s.Confirmed, s.Reserve, true, s.Doubt
	n.registered, n.ready, n.saved = 1, true, s.Parts
	for key, u := range s.Uncertain {
		n.uncertain[key] = uncertainPart{u.Held, u.Modified}
	}
	return n
}
