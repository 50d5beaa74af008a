package status

import (
	"fmt"
	"time"
)

// SharedConfig is the configuration that the nodes of a fleet share, as one node sees it.
type SharedConfig struct {
	Revision int          `json:"revision"`          // that this node runs; 0 = its file
	Error    string       `json:"error,omitempty"`   // why it does not run the revision in force
	Rollout  *Rollout     `json:"rollout,omitempty"` // the last one; nil = none
	Nodes    []SharedNode `json:"nodes"`             // live nodes that share it, by name
}

// Rollout is the last roll-out of a shared configuration.
type Rollout struct {
	ID        uint64          `json:"id"`
	Phase     string          `json:"phase"`    // validating, canary, step, rest, done, refused or rolled_back
	Active    bool            `json:"active"`   // it has not ended
	From      int             `json:"from"`     // the revision before; 0 = the file of each node
	To        int             `json:"to"`       // the revision that is rolled out
	Current   int             `json:"current"`  // the revision in force, or that before the roll-out in progress
	Previous  int             `json:"previous"` // the revision that a rollback returns to
	Watched   []string        `json:"watched,omitempty"`
	Driver    string          `json:"driver"` // the node that drives it
	By        string          `json:"by"`     // the operator
	BeganAt   time.Time       `json:"began_at"`
	EndedAt   *time.Time      `json:"ended_at,omitempty"`
	Node      string          `json:"node,omitempty"`   // that ended it
	Reason    string          `json:"reason,omitempty"` // why it was refused or rolled back
	Revisions []ConfigOutcome `json:"history"`          // finished roll-outs, oldest first
}

// ConfigOutcome is how the roll-out of a revision has ended.
type ConfigOutcome struct {
	Revision int       `json:"revision"`
	Phase    string    `json:"phase"` // done, refused or rolled_back
	By       string    `json:"by"`
	At       time.Time `json:"at"`
	Reason   string    `json:"reason,omitempty"`
}

// SharedNode is a node that shares the configuration.
type SharedNode struct {
	Node     string `json:"node"`
	Revision int    `json:"revision"`       // that it runs
	Vote     string `json:"vote,omitempty"` // on the last roll-out: yes, or why not
	Plan     string `json:"plan,omitempty"` // what the last roll-out would change there
	Error    string `json:"error,omitempty"`
}

// problems returns the problems of the shared configuration.
func (c *SharedConfig) problems() []Problem {
	if c == nil {
		return nil
	}
	var list []Problem
	if c.Error != "" {
		list = append(list, Problem{Severity: Warning, Text: fmt.Sprintf("shared configuration not applied: %s in force", revisionText(c.Revision)), Reason: c.Error})
	}
	if r := c.Rollout; r != nil && r.Active {
		list = append(list, Problem{Severity: Note, Text: fmt.Sprintf("roll-out of revision %d by %s: %s", r.To, r.By, r.Phase), Since: &r.BeganAt})
	}
	return list
}

// revisionText formats a revision.
func revisionText(revision int) string {
	if revision == 0 {
		return "the file of this node"
	}
	return fmt.Sprintf("revision %d", revision)
}
