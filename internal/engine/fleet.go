package engine

// The node's place in its fleet: it is connected while [fleet] is in force, and reconnected when a reload changes that.

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"weir/checks"
	"weir/conf"
	"weir/internal/fleet"
	"weir/internal/fleet/etcd"
	"weir/internal/fleet/limits"
	"weir/internal/status"
)

// fleetTimeout is the time for one call of the store.
const fleetTimeout = 2 * time.Second

// fleetLink connects the engine to a fleet.
type fleetLink struct {
	member     atomic.Pointer[fleet.Member] // nil without [fleet]
	conflicts  atomic.Uint64
	restores   atomic.Uint64
	identified atomic.Pointer[identifiedConfig] // the last one
	voting     sync.Mutex                       // held while votes are put in force; guards voted
	voted      map[string]bool                  // clusters with votes
	clusters   pendingSet[string]               // keys of clusters whose runtime changes the fleet has changed

	mu       sync.Mutex     // guards the fields below
	spec     fleetSpec      // in force
	problems fleet.Problems // of runtime changes that cannot be applied here
	saved    json.RawMessage
	running  bool          // background goroutines run
	cancel   func()        // ends the member
	done     chan struct{} // closed when the last member has ended
	start    func()        // of the member, once background goroutines run
}

// identifiedConfig is a configuration with its configID.
type identifiedConfig struct {
	of *conf.Config
	id string
}

// configID returns the configID of a configuration, which takes a while for a large one.
func (l *fleetLink) configID(s *runningState) string {
	if last := l.identified.Load(); last != nil && last.of == s.file {
		return last.id
	}
	id := s.configID()
	l.identified.Store(&identifiedConfig{s.file, id})
	return id
}

// fleetSpec is [fleet] with what was read from files. Two equal ones need no new connection.
type fleetSpec struct {
	conf    *conf.Fleet // nil = none
	node    string
	options etcd.Options
	files   [sha256.Size]byte // of the TLS files' contents
}

// prepareFleet reads what [fleet] names. The errors are located.
func prepareFleet(cfg *conf.Config) (spec fleetSpec, errs conf.Errors) {
	f := cfg.Fleet
	if f == nil {
		return spec, nil
	}
	spec.conf, spec.node = f, f.Node
	fail := func(key string, err error) {
		option := checks.OptionError{Option: key, Err: err}
		errors.As(err, &option)
		errs = append(errs, cfg.KeyError("fleet", option.Option, option.Err))
	}
	if spec.node == "" {
		name, err := os.Hostname()
		if err != nil || name == "" {
			fail("node", cmp.Or(err, errors.New("this host has no name; set node")))
		}
		spec.node = name
	}
	password, err := checks.Secret(f.Password).Read()
	if err != nil {
		fail("password_file", err)
	}
	spec.options = etcd.Options{Endpoints: f.Endpoints, Prefix: f.Prefix, User: f.User, Password: password, Timeout: fleetTimeout}
	if f.TLS.On {
		secure := checks.TLS{ServerName: f.TLS.ServerName, CAFile: f.TLS.CAFile, CertFile: f.TLS.CertFile, KeyFile: f.TLS.KeyFile}
		if spec.options.TLS, err = secure.Client(); err != nil {
			fail("tls_ca_file", err)
		}
		digest := sha256.New()
		for _, name := range []string{f.TLS.CAFile, f.TLS.CertFile, f.TLS.KeyFile} {
			if name != "" {
				text, _ := os.ReadFile(name) // Client has read it
				fmt.Fprintf(digest, "%d %s", len(text), text)
			}
		}
		digest.Sum(spec.files[:0])
	}
	return spec, errs
}

// checkFleet returns the errors of [fleet] on this host.
func checkFleet(cfg *conf.Config) conf.Errors {
	_, errs := prepareFleet(cfg)
	return errs
}

// same reports whether two specifications need the same connection.
func (s fleetSpec) same(other fleetSpec) bool {
	s.options.TLS, other.options.TLS = nil, nil // its files are compared
	return reflect.DeepEqual(s, other)
}

// commitFleet puts [fleet] in force. It does not wait for the store.
func (e *Engine) commitFleet(spec fleetSpec, old *runningState) {
	l := &e.fleet
	l.mu.Lock()
	defer l.mu.Unlock()
	if spec.same(l.spec) {
		if m := l.member.Load(); m != nil {
			e.reapplyFleet(m, old)
			m.VerdictsChanged()
		}
		return
	}
	if old := l.member.Load(); old != nil {
		l.saved = old.Save()
	}
	e.stopLimits()
	if l.cancel != nil {
		l.cancel()
		l.cancel = nil
	}
	l.spec, l.start, l.problems = spec, nil, fleet.Problems{}
	l.member.Store(nil)
	if spec.conf == nil {
		l.saved = nil
		return
	}
	store := etcd.Open(spec.options)
	m := fleet.NewMember(fleet.MemberOptions{
		Node: spec.node, Prefix: spec.conf.Prefix, Store: store, Share: spec.conf.Share, TTL: spec.conf.TTL, Saved: l.saved, Log: e.log,
		Apply: e.applyFleet, Info: e.nodeInfo, Event: e.fleetEvent, Changed: e.stateFile.Changed, Existing: e.existingOverrides,
		Verdicts: e.ownVerdicts, Voted: e.applyVotes,
	})
	l.member.Store(m)
	var keeper *limits.Keeper
	if sharesLimits(spec.conf) {
		keeper = e.startLimits(spec, store, m)
	}
	before, done := l.done, make(chan struct{})
	l.done = done
	ctx, cancel := context.WithCancel(e.ctx)
	l.cancel = cancel
	l.start = func() {
		e.work.Go(func() {
			defer close(done)
			defer store.Close()
			if before != nil {
				<-before // two connections would dispute the name of the node
			}
			if keeper != nil {
				kept := make(chan struct{})
				go func() { defer close(kept); keeper.Run(ctx) }()
				defer func() { <-kept }()
			}
			e.applyFleet(m.Applied()) // what the state file has not, such as what was said to a process that was killed
			var rollOuts sync.WaitGroup
			rollOuts.Go(func() { e.shareConfig(ctx, spec, store) })
			m.Run(ctx)
			rollOuts.Wait()
		})
	}
	if l.running {
		l.start()
	}
}

// runFleet starts the member, and keeps applying runtime changes of the fleet.
func (e *Engine) runFleet() {
	e.fleet.mu.Lock()
	defer e.fleet.mu.Unlock()
	e.fleet.running = true
	e.work.Go(func() { e.fleet.clusters.run(e.ctx, e.applySharedClusters) })
	if e.fleet.start != nil {
		e.fleet.start()
	}
}

// leaveFleet ends the member of a process whose service another process continues.
func (e *Engine) leaveFleet() {
	e.fleet.mu.Lock()
	defer e.fleet.mu.Unlock()
	if e.fleet.cancel != nil {
		e.fleet.cancel()
	}
}

// rejoinFleet starts the member again after leaveFleet.
func (e *Engine) rejoinFleet() {
	e.fleet.mu.Lock()
	spec := e.fleet.spec
	e.fleet.spec = fleetSpec{}
	e.fleet.mu.Unlock()
	e.commitFleet(spec, e.running.Load())
	e.applyVotes(nil)
}

// fleetState returns what a later process continues with; nil = nothing.
func (e *Engine) fleetState() json.RawMessage {
	if m := e.fleet.member.Load(); m != nil {
		return m.Save()
	}
	return nil
}

// sharing returns the member if it shares overrides, else nil.
func (e *Engine) sharing() *fleet.Member {
	if m := e.fleet.member.Load(); m != nil && m.SharesOverrides() {
		return m
	}
	return nil
}

// fleetEvent publishes an event of the fleet.
func (e *Engine) fleetEvent(ev fleet.Event) {
	out := status.Event{Time: time.Now(), Event: ev.Kind, Reason: ev.Reason, Count: uint64(ev.Count)}
	if cluster, server, ok := fleet.ParseOverrideKey(ev.Key); ok {
		out.Cluster, out.Server = cluster, server
	}
	switch ev.Kind {
	case fleet.EventConflict:
		e.fleet.conflicts.Add(1)
	case fleet.EventRestored:
		e.fleet.restores.Add(1)
		out.Reason = fmt.Sprintf("the store had lost its data; this node writes %d overrides again", ev.Count)
	}
	level := e.log.Warn
	if ev.Kind == fleet.EventConnected {
		level = e.log.Info
	}
	level(ev.Kind, "event", ev.Kind, "cluster", out.Cluster, "server", out.Server, "reason", out.Reason)
	if !e.published.handedOver.Load() {
		e.published.eventLog.put(out)
	}
}
