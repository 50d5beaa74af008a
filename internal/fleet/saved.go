package fleet

import (
	"encoding/json"
	"fmt"
)

// savedOverrides is the JSON that Save writes.
type savedOverrides struct {
	Prefix  string             `json:"prefix"`
	History history            `json:"history"`
	Seen    int64              `json:"seen"`
	Floor   int64              `json:"floor,omitempty"`
	Objects map[string]*object `json:"objects"`
}

// Save returns what the node knows, for a later process. prefix names the fleet.
func (s *Overrides) Save(prefix string) json.RawMessage {
	text, err := json.Marshal(savedOverrides{prefix, s.known, s.seen, s.floor, s.objects})
	if err != nil {
		return nil // it has only values that JSON can have
	}
	return text
}

// Restore continues with what Save of an earlier process has returned, unless it is of another fleet. Objects that cannot be
// used are left out; the error describes the first one.
func (s *Overrides) Restore(prefix string, text json.RawMessage) error {
	var saved savedOverrides
	if err := json.Unmarshal(text, &saved); err != nil {
		return err
	}
	if saved.Prefix != prefix {
		return nil
	}
	s.known, s.seen, s.floor = saved.History, saved.Seen, saved.Floor
	var first error
	for key, o := range saved.Objects {
		if err := o.check(key); err != nil {
			if first == nil {
				first = fmt.Errorf("objects: %w", err)
			}
			continue
		}
		s.objects[key] = o
	}
	return first
}

// check validates an object of the state file.
func (o *object) check(key string) error {
	if !isOverrideKey(key) || o == nil {
		return fmt.Errorf("%.64q: not an object", key)
	}
	for _, said := range []*Override{o.Shared, o.Pending} {
		if said == nil {
			continue
		}
		if err := said.check(); err != nil {
			return fmt.Errorf("%.64q: %w", key, err)
		}
	}
	if o.Restore != nil && o.Shared == nil {
		return fmt.Errorf("%.64q: restore: without shared", key)
	}
	return nil
}
