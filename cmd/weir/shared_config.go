package main

// The configuration that the nodes of a fleet share: how a roll-out reads, applies and judges it on this node.

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"weir/conf"
	"weir/internal/engine"
	"weir/internal/fleet"
	"weir/internal/fleet/rollout"
	"weir/internal/status"
)

// sharedConfig takes part in roll-outs.
type sharedConfig struct {
	daemon *daemon
	prefix string // of the fleet
	agent  *rollout.Agent

	mu    sync.Mutex
	last  map[string]engine.SessionCounts // by listener; guarded by mu
	total rollout.Figures                 // of listeners that are gone too; guarded by mu
}

// loadFirst loads the configuration of a start: the file, and the shared configuration that was in force before, if the file
// asks for it. If that cannot be used, the node starts with its file, and unusable is why; the next process of an upgrade
// does not start then.
func loadFirst(ctx context.Context, file string, old *engine.OldProcess) (cfg loaded, unusable, err error) {
	cfg, err = load(ctx, conf.Input{Path: file}, checkLog)
	if err != nil || !cfg.SharesConfig() {
		return cfg, nil, err
	}
	shared := engine.SavedShared(cfg.Runtime.StateFile, old)
	if shared == nil {
		return cfg, nil, nil
	}
	whole, unusable := load(ctx, conf.Input{Path: file, Shared: shared}, checkLog)
	switch {
	case unusable == nil:
		return whole, nil, nil
	case old != nil || errors.Is(unusable, context.Canceled):
		return cfg, nil, unusable
	}
	return cfg, unusable, nil
}

// rollOuts takes part in the roll-outs of a fleet until ctx ends.
func (d *daemon) rollOuts(ctx context.Context, node engine.FleetNode) {
	select {
	case <-d.started:
	case <-ctx.Done():
		return
	}
	s := &sharedConfig{daemon: d, prefix: node.Prefix}
	o := rollout.Options{
		Node: node.Node, Instance: rand.Text(), Store: node.Store, TTL: node.TTL, Log: d.log,
		Validate: s.validate, Apply: s.apply, Figures: s.figures, Ended: s.ended,
	}
	if running := d.engine.RunningShared(); running != nil {
		o.Runs, o.Text = running.Revision, running.Text
	}
	s.agent = rollout.NewAgent(o)
	d.shared.Store(s)
	s.agent.Run(ctx)
	d.shared.CompareAndSwap(s, nil)
}

// revision returns a revision as a shared configuration; nil for revision 0, the file.
func (s *sharedConfig) revision(revision int, text []byte) *conf.Shared {
	if revision == 0 {
		return nil
	}
	return &conf.Shared{Prefix: s.prefix, Revision: revision, Text: text}
}

// validate returns the plan of a revision, with the file of this node as it is on disk.
func (s *sharedConfig) validate(ctx context.Context, revision int, text []byte) (string, error) {
	plan, err := s.plan(ctx, s.revision(revision, text))
	if err != nil {
		return "", oneLine(err)
	}
	lines := make([]string, len(plan.Steps))
	for i, step := range plan.Steps {
		lines[i] = step.Text
	}
	return strings.Join(lines, "; "), nil
}

// plan tests a shared configuration on this host as a reload would, and returns its plan.
func (s *sharedConfig) plan(ctx context.Context, shared *conf.Shared) (status.Plan, error) {
	cfg, err := load(ctx, conf.Input{Path: s.daemon.file, Regular: true, Shared: shared})
	if err != nil {
		return status.Plan{}, err
	}
	plan, err := s.daemon.engine.PlanFile(cfg.Config)
	for _, step := range plan.Steps {
		if err == nil && step.Refused != "" {
			err = errors.New(step.Text)
		}
	}
	return plan, err
}

// apply reloads with another revision.
func (s *sharedConfig) apply(ctx context.Context, revision int, text []byte) error {
	result := make(chan error, 1)
	select {
	case s.daemon.shareds <- sharedRequest{s.revision(revision, text), result}:
	case <-s.daemon.stopping:
		return engine.ErrStopped
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := <-result; err != nil {
		return oneLine(err)
	}
	return nil
}

// maxReasons is the number of errors of a configuration that other nodes see.
const maxReasons = 3

// oneLine returns the first lines of an error as one.
func oneLine(err error) error {
	lines := strings.Split(err.Error(), "\n")
	if more := len(lines) - maxReasons; more > 0 {
		lines = append(lines[:maxReasons], fmt.Sprintf("%d more errors", more))
	}
	return errors.New(strings.Join(lines, "; "))
}

// figures returns what the node has counted since its start, with the problems of its clusters.
func (s *sharedConfig) figures(problems bool) rollout.Figures {
	s.mu.Lock()
	defer s.mu.Unlock()
	counts := s.daemon.engine.SessionCounts()
	for name, c := range counts {
		before := s.last[name]
		if c.Sessions < before.Sessions || c.Failed < before.Failed || c.Refused < before.Refused { // another listener with that name
			before = engine.SessionCounts{}
		}
		s.total.Sessions += c.Sessions - before.Sessions
		s.total.Failed += c.Failed - before.Failed
		s.total.Refused += c.Refused - before.Refused
	}
	s.last = counts
	f := s.total
	if problems {
		for _, p := range s.daemon.engine.Status().Problems {
			if p.Cluster != "" && p.Severity != status.Note {
				f.Problems = append(f.Problems, rollout.ProblemKey(p.Cluster, p.Text))
			}
		}
	}
	return f
}

// ended logs the end of a roll-out and records its event.
func (s *sharedConfig) ended(r *rollout.Record) {
	ev := status.Event{Time: time.Now(), Event: "rollout_done", From: fmt.Sprint(r.From), To: fmt.Sprint(r.To), By: r.By}
	if r.Phase != rollout.Done {
		ev.Event, ev.Reason = "rollout_failed", r.Reason.String()
	}
	s.daemon.engine.RecordEvent(ev)
	s.daemon.log.Info(ev.Event, "event", ev.Event, "revision", r.To, "from", r.From, "by", r.By, "reason", ev.Reason)
}

// status returns the shared configuration as this node sees it.
func (s *sharedConfig) status() status.SharedConfig {
	known := s.agent.Status()
	c := status.SharedConfig{Revision: known.Runs, Error: known.Failure.Error, Nodes: []status.SharedNode{}}
	if known.NameUsed {
		c.Error = "another weir has the name of this node in the fleet, or an earlier process of this node has not expired (ttl)"
	}
	if r := known.Record; r != nil {
		c.Rollout = rolloutStatus(r)
	}
	for _, node := range known.Nodes {
		n := status.SharedNode{Node: node.Name, Revision: node.Runs, Plan: node.Vote.Plan, Error: node.Failure.Error}
		if node.Vote.ID > 0 {
			if n.Vote = "yes"; node.Vote.Error != "" {
				n.Vote = node.Vote.Error
			}
		}
		c.Nodes = append(c.Nodes, n)
	}
	return c
}

// rolloutStatus converts a record to its document.
func rolloutStatus(r *rollout.Record) *status.Rollout {
	out := &status.Rollout{
		ID: r.ID, Phase: string(r.Phase), Active: r.Phase.Active(), From: r.From, To: r.To, Current: r.Current(), Previous: r.Previous,
		Watched: r.Watched, Driver: r.Driver.Node, By: r.By, BeganAt: r.Began, Node: r.Reason.Node, Reason: r.Reason.Text,
		Revisions: []status.ConfigOutcome{},
	}
	if !r.Ended.IsZero() {
		out.EndedAt = &r.Ended
	}
	for _, e := range r.History {
		out.Revisions = append(out.Revisions, status.ConfigOutcome{Revision: e.Revision, Phase: string(e.Phase), By: e.By, At: e.Ended, Reason: e.Reason})
	}
	return out
}

// errNotShared is the error of requests about a shared configuration on a node that shares none.
var errNotShared = &status.RequestError{Kind: status.Conflict, Text: "this node shares no configuration: want share = [\"config\"] in [fleet]"}

// begin validates a new revision on this node, stores it and begins its roll-out.
func (s *sharedConfig) begin(ctx context.Context, by, file string, text []byte, canaries int, pause time.Duration) (status.Rollout, error) {
	if file == "" {
		file = "configuration"
	}
	if _, err := s.plan(ctx, &conf.Shared{Name: file, Text: text}); err != nil {
		return status.Rollout{}, engine.InvalidConfig(err)
	}
	r, err := s.agent.Begin(ctx, rollout.Request{By: by, Canaries: canaries, Pause: pause}, text)
	return rolloutResult(r, err)
}

// undo ends the roll-out in progress or returns to the previous revision.
func (s *sharedConfig) undo(ctx context.Context, by string) (status.Rollout, error) {
	return rolloutResult(s.agent.Undo(ctx, rollout.Request{By: by}))
}

// clear returns all nodes to their files.
func (s *sharedConfig) clear(ctx context.Context, by string) (status.Rollout, error) {
	return rolloutResult(s.agent.Clear(ctx, rollout.Request{By: by}))
}

// rolloutResult converts the result of a request.
func rolloutResult(r *rollout.Record, err error) (status.Rollout, error) {
	var active *rollout.ActiveError
	switch {
	case err == nil:
		return *rolloutStatus(r), nil
	case errors.As(err, &active), errors.Is(err, rollout.ErrNoPrevious), errors.Is(err, rollout.ErrNone), errors.Is(err, fleet.ErrConflict):
		return status.Rollout{}, &status.RequestError{Kind: status.Conflict, Text: err.Error()}
	case errors.Is(err, rollout.ErrInvalid):
		return status.Rollout{}, &status.RequestError{Kind: status.Invalid, Text: err.Error()}
	}
	return status.Rollout{}, &status.RequestError{Kind: status.Unavailable, Text: err.Error()}
}
