package rollout

import (
	"context"
	"errors"
	"fmt"
	"time"

	"weir/internal/fleet"
)

// ErrAway is returned to operators while the store cannot be reached.
var ErrAway = errors.New("the store of the fleet is not reachable")

// Begin stores a new revision and begins its roll-out.
func (a *Agent) Begin(ctx context.Context, req Request, text []byte) (*Record, error) {
	return a.change(ctx, func(last *Record) (*Record, fleet.Txn, error) {
		r, err := Begin(last, a.complete(req))
		if err != nil {
			return nil, fleet.Txn{}, err
		}
		value, err := Revision{Text: string(text), By: r.By, Node: a.o.Node, At: r.Began}.Encode()
		if err != nil {
			return nil, fleet.Txn{}, fmt.Errorf("%w: configuration too large: %w", ErrInvalid, err)
		}
		return r, fleet.Txn{Put: []fleet.Put{{Key: RevisionKey(r.To), Value: value}}}, nil
	})
}

// Undo ends the roll-out in progress, or begins one to the revision before the current one.
func (a *Agent) Undo(ctx context.Context, req Request) (*Record, error) {
	return a.change(ctx, func(last *Record) (*Record, fleet.Txn, error) {
		r, err := Undo(last, a.complete(req))
		return r, fleet.Txn{}, err
	})
}

// Clear begins the roll-out that returns all nodes to their files, and removes the revisions from the store.
func (a *Agent) Clear(ctx context.Context, req Request) (*Record, error) {
	return a.change(ctx, func(last *Record) (*Record, fleet.Txn, error) {
		r, err := Clear(last, a.complete(req))
		return r, fleet.Txn{}, err
	})
}

func (a *Agent) complete(req Request) Request {
	req.Driver, req.At = Member{a.o.Node, a.o.Instance}, time.Now()
	return req
}

// change writes the record that next returns, with its transaction.
func (a *Agent) change(ctx context.Context, next func(last *Record) (*Record, fleet.Txn, error)) (*Record, error) {
	a.mu.Lock()
	last, modified, usable, away := a.known.record, a.known.modified, a.known.usable(), a.known.away
	if !a.known.stored {
		last = nil
	}
	unreadable := a.known.unreadable
	a.mu.Unlock()
	switch {
	case !usable && away != nil:
		return nil, fmt.Errorf("%w: %w", ErrAway, away)
	case !usable:
		return nil, ErrAway
	case unreadable:
		return nil, errors.New("the record of the last roll-out cannot be read: it is from another version of weir, or damaged")
	}
	r, t, err := next(last)
	if err != nil {
		return nil, err
	}
	t.If = append(t.If, fleet.Condition{Key: fleet.RolloutKey, Modified: modified})
	t.Put = append(t.Put, fleet.Put{Key: fleet.RolloutKey, Value: r.Encode()})
	a.mu.Lock()
	t.Delete = a.known.dropped(r)
	a.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	if _, err := a.o.Store.Commit(ctx, t); err != nil {
		return nil, err
	}
	return r, nil
}

// Status is what the agent knows.
type Status struct {
	Record   *Record // nil = none
	Runs     int
	Failure  Failure
	Nodes    []NodeStatus // live nodes that share the configuration, by name
	Problems []fleet.Problem
	NameUsed bool // another process has the name of this node, which takes no part
}

// NodeStatus is what a node has reported last.
type NodeStatus struct {
	Name string
	Report
}

// Status returns what the agent knows. It may be called by any goroutine.
func (a *Agent) Status() Status {
	a.mu.Lock()
	defer a.mu.Unlock()
	v := a.known.view()
	s := Status{Record: v.Record, Runs: a.report.Runs, Failure: a.report.Failure}
	for _, node := range sorted(v.Live) {
		s.Nodes = append(s.Nodes, NodeStatus{node, v.Reports[node]})
	}
	s.Problems, _ = a.known.problems.List()
	own := a.known.reports[a.o.Node]
	s.NameUsed = own.modified > 0 && own.Instance != a.o.Instance
	return s
}
