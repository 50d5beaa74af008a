package engine

// Providers of servers (level.discover): how their answers arrive.

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"
	"time"

	"weir/checks"
	"weir/conf"
	"weir/internal/discovery"
	"weir/internal/printable"
	"weir/internal/state"
)

// levelID identifies a level: its cluster, and its name or number.
type levelID struct{ cluster, level string }

// provider is the provider of one level, with its last good answer. It is replaced if the source changes.
type provider struct {
	// Immutable.
	id          levelID
	spec        conf.Discover
	fingerprint [sha256.Size]byte
	of          string // identifies the source, without its secrets

	source  discovery.Provider
	watcher *discovery.Watcher // nil until the first question

	mu sync.Mutex // guards what follows
	answerState
}

// answerState is the last good answer of a provider, and what came after it.
type answerState struct {
	entries    []discovery.Entry // in force
	servers    []conf.Server     // of entries, without those that cannot be used; immutable
	bad        []discovery.BadEntry
	badN       int
	dropped    int
	saved      bool      // the answer is that of an earlier process, or of an earlier version of the file
	answeredAt time.Time // last answer, also if it was unchanged; zero = none
	changedAt  time.Time // last change of the servers; zero = none
	keptEmpty  time.Time // since when empty answers are ignored; zero = they are not

	err      string // of the last question; "" = it was answered
	unusable string // why the answer after this one was not used; "" = there was none
	failedAt time.Time
	next     time.Time
	asked    *discovery.Result // by the reload that created the provider; nil after its start

	questions, failures, changes uint64
	recent                       []answerChange // the last changes, oldest first
}

// answerChange is one change of the servers that a provider lists.
type answerChange struct {
	at                     time.Time
	added, removed, edited []string // addresses; at most maxChangeNames each
	addedN, removedN       int
	editedN                int
}

const (
	maxRecentChanges = 20
	maxChangeNames   = 20
)

// discoverSource returns an identification of the source of a provider that holds no secret.
func discoverSource(spec *conf.Discover) string {
	sum := sha256.Sum256([]byte(spec.Source()))
	return spec.Type + " " + hex.EncodeToString(sum[:12])
}

// checkProviders returns what providers need of this host and lack.
func checkProviders(cfg *conf.Config) (errs conf.Errors) {
	for c, i := range levelsWithProvider(cfg) {
		if _, err := discovery.Prepare(c.Levels[i].Discover); err != nil {
			errs = append(errs, providerError(cfg, c.Name, i, err))
		}
	}
	return errs
}

// ProviderWarnings returns the files of providers that cannot be read now. A start goes on without them.
func ProviderWarnings(ctx context.Context, cfg *conf.Config) (list conf.Errors) {
	for c, i := range levelsWithProvider(cfg) {
		spec := c.Levels[i].Discover
		if spec.Type != "file" && spec.Type != "nginx" {
			continue
		}
		source, err := discovery.Prepare(spec)
		if err != nil {
			continue // an error, not a warning
		}
		result := discovery.Ask(ctx, source.New(discovery.Place{Cluster: c.Name, Level: c.LevelName(i)}), spec.Timeout)
		if result.Err != nil {
			list = append(list, cfg.DiscoverError(c.Name, i, "path", result.Err))
		}
	}
	return list
}

func providerError(cfg *conf.Config, cluster string, level int, err error) conf.Diagnostic {
	option := checks.OptionError{Option: "type", Err: err}
	errors.As(err, &option)
	return cfg.DiscoverError(cluster, level, option.Option, option.Err)
}

// levelsWithProvider iterates over the levels with a provider.
func levelsWithProvider(cfg *conf.Config) func(yield func(*conf.Cluster, int) bool) {
	return func(yield func(*conf.Cluster, int) bool) {
		for i := range cfg.Clusters {
			c := &cfg.Clusters[i]
			for j := range c.Levels {
				if c.Levels[j].Discover != nil && !yield(c, j) {
					return
				}
			}
		}
	}
}

// maxFirstAnswer limits the wait of a reload, during which no other change is made, for first answers.
const maxFirstAnswer = lookupTimeout

// prepareProviders sets the providers of the next configuration: running ones, if they stay the same, and others. It asks
// the others if they have no answer of an earlier process or version. At the start, Start asks them all (firstAnswers).
func (r *reload) prepareProviders(cfg *conf.Config) error {
	r.next.providers = map[levelID]*provider{}
	var errs conf.Errors
	var fresh []*provider
	for c, i := range levelsWithProvider(cfg) {
		spec := c.Levels[i].Discover
		id := levelID{c.Name, c.LevelName(i)}
		running := r.old.providers[id]
		if running != nil && r.keepProviders {
			r.next.providers[id] = running
			continue
		}
		source, err := discovery.Prepare(spec)
		if err != nil {
			errs = append(errs, providerError(r.next.file, c.Name, i, err))
			continue
		}
		if running != nil && running.fingerprint == source.Fingerprint && reflect.DeepEqual(running.spec, *spec) {
			r.next.providers[id] = running
			continue
		}
		p := &provider{id: id, spec: *spec, fingerprint: source.Fingerprint, of: discoverSource(spec), source: source.New(discovery.Place{Cluster: id.cluster, Level: id.level})}
		r.next.providers[id] = p
		r.startProviders = append(r.startProviders, p)
		switch saved := r.savedAnswer(id, p.of); {
		case running != nil && running.of == p.of:
			p.inherit(running)
		case saved != nil:
			p.restore(saved)
			if r.e.oldProcess == nil {
				fresh = append(fresh, p)
			}
		default:
			fresh = append(fresh, p)
		}
	}
	if len(errs) > 0 {
		return r.next.file.SortErrors(errs)
	}
	if r.old.cfg == nil && r.e.oldProcess == nil {
		r.unasked = fresh
		return nil
	}
	r.askFirst(fresh)
	return nil
}

// firstAnswers asks the providers of the first configuration, puts their answers in force, and lets the listeners accept clients,
// which have waited in the kernel. Programs and files of providers are used as runtime.user, so that comes after its change.
func (r *reload) firstAnswers() {
	if len(r.unasked) == 0 {
		return
	}
	r.askFirst(r.unasked)
	for _, p := range r.unasked {
		r.e.watch(p)
	}
	r.e.logIfFailed("cannot apply the servers that providers have found", r.e.applyProvided(false))
	for _, ln := range r.unstarted {
		ln.Start()
	}
}

// askFirst asks providers for their first answers, all at the same time.
func (r *reload) askFirst(fresh []*provider) {
	ctx, cancel := contextUntil(r.e.ctx, r.e.skipLookups)
	defer cancel()
	var wait sync.WaitGroup
	for _, p := range fresh {
		timeout := p.spec.Timeout
		if r.old.cfg != nil {
			timeout = min(timeout, maxFirstAnswer)
		}
		wait.Go(func() {
			result := discovery.Ask(ctx, p.source, timeout)
			p.mu.Lock()
			defer p.mu.Unlock()
			p.accept(result)
			p.asked = result
		})
	}
	wait.Wait()
	r.resolveFound(ctx, fresh)
	for _, p := range fresh {
		p.mu.Lock()
		if p.err != "" {
			r.e.log.Warn("no first answer from a provider", "cluster", p.id.cluster, "level", p.id.level, "source", p.spec.String(), "error", p.err)
		}
		p.mu.Unlock()
	}
}

// savedAnswer returns the answer of an earlier process for a level and source, or nil.
func (r *reload) savedAnswer(id levelID, of string) *state.Discovered {
	if r.e.savedState == nil || r.old.cfg != nil {
		return nil
	}
	for i := range r.e.savedState.Clusters {
		c := &r.e.savedState.Clusters[i]
		for j := range c.Discovered {
			if d := &c.Discovered[j]; c.Name == id.cluster && d.Level == id.level && d.Of == of {
				return d
			}
		}
	}
	return nil
}

// inherit continues with the answer of another provider of the same source.
func (p *provider) inherit(from *provider) {
	from.mu.Lock()
	p.answerState = from.answerState
	from.mu.Unlock()
	p.saved, p.asked = true, nil
	p.parse(p.entries)
}

// restore continues with the answer of an earlier process.
func (p *provider) restore(saved *state.Discovered) {
	entries := make([]discovery.Entry, 0, len(saved.Servers))
	for _, s := range saved.Servers[:min(len(saved.Servers), discovery.MaxEntries)] {
		entries = append(entries, discovery.Entry{FoundServer: conf.FoundServer{Address: s.Address, Options: s.Options}, Labels: s.Labels})
	}
	p.saved, p.answeredAt = true, saved.At
	p.parse(entries)
}

// parse sets the servers of an answer, and returns how many entries can be used. mu is held, or the provider is new.
func (p *provider) parse(entries []discovery.Entry) {
	found := make([]conf.FoundServer, len(entries))
	for i := range entries {
		found[i] = entries[i].FoundServer
	}
	servers, errs := p.spec.Servers(found)
	p.entries, p.servers = entries, make([]conf.Server, 0, len(servers))
	for i, err := range errs {
		if err == nil {
			p.servers = append(p.servers, servers[i])
			continue
		}
		if p.badN++; len(p.bad) < maxBadShown {
			p.bad = append(p.bad, discovery.BadEntry{Entry: printable.Clip(entries[i].Address, printable.MaxQuote), Reason: printable.Clip(err.Error(), printable.MaxLine)})
		}
	}
}

// maxBadShown limits the bad entries of one answer that are kept.
const maxBadShown = 100

// accept applies the result of a question, and reports whether the servers have changed. mu is held.
func (p *provider) accept(r *discovery.Result) (changed bool) {
	p.questions++
	p.next = r.Next
	switch {
	case errors.Is(r.Err, discovery.ErrUnchanged) && p.unusable != "":
		p.failures, p.err = p.failures+1, p.unusable
		return false
	case errors.Is(r.Err, discovery.ErrUnchanged):
		p.err, p.answeredAt = "", r.At
		return false
	case r.Err != nil:
		p.failures++
		if p.err == "" {
			p.failedAt = r.At
		}
		p.err = printable.Clip(r.Err.Error(), printable.MaxLine)
		return false
	}
	before := p.answerState
	p.bad, p.badN, p.dropped = slices.Clone(r.Answer.Bad), r.Answer.BadN, r.Answer.Dropped
	p.parse(r.Answer.Entries)
	if len(p.servers) == 0 && p.badN > 0 {
		bad, badN := p.bad, p.badN
		p.answerState = before
		p.bad, p.badN, p.failures = bad, badN, p.failures+1
		if p.err == "" {
			p.failedAt = r.At
		}
		p.unusable = fmt.Sprintf("none of %d entries can be used, the first one %q: %s", p.badN, p.bad[0].Entry, p.bad[0].Reason)
		p.err = p.unusable
		return false
	}
	p.err, p.unusable, p.answeredAt, p.saved = "", "", r.At, false
	if len(p.servers) == 0 && len(before.servers) > 0 && p.spec.KeepOnEmpty {
		p.entries, p.servers = before.entries, before.servers
		if p.keptEmpty.IsZero() {
			p.keptEmpty = r.At
		}
		return false
	}
	p.keptEmpty = time.Time{}
	if slices.EqualFunc(p.servers, before.servers, equalServers) {
		p.servers = before.servers // the same slice is the same servers
		return false
	}
	p.changes++
	p.changedAt = r.At
	p.recent = append(slices.Clone(p.recent[max(0, len(p.recent)-maxRecentChanges+1):]), changeOf(before.servers, p.servers, r.At))
	return true
}

// changeOf describes the way from one list of servers to another one.
func changeOf(before, after []conf.Server, at time.Time) answerChange {
	c := answerChange{at: at}
	note := func(list *[]string, n *int, s *conf.Server) {
		if *n++; len(*list) < maxChangeNames {
			*list = append(*list, s.Name)
		}
	}
	old := make(map[string]*conf.Server, len(before))
	for i := range before {
		old[before[i].Name] = &before[i]
	}
	for i := range after {
		s := &after[i]
		was := old[s.Name]
		delete(old, s.Name)
		switch {
		case was == nil:
			note(&c.added, &c.addedN, s)
		case !reflect.DeepEqual(*was, *s):
			note(&c.edited, &c.editedN, s)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(old)) {
		note(&c.removed, &c.removedN, old[name])
	}
	return c
}

// publish applies a result of the watcher.
func (e *Engine) publishAnswer(p *provider, r discovery.Result) {
	p.mu.Lock()
	failing := p.err != ""
	changed := false
	if p.asked != nil { // counted already
		p.next, p.asked = r.Next, nil
	} else {
		changed = p.accept(&r)
	}
	err := p.err
	p.mu.Unlock()
	if e.published.handedOver.Load() {
		return
	}
	switch {
	case err != "" && !failing:
		e.log.Warn("provider fails: its last servers stay", "cluster", p.id.cluster, "level", p.id.level, "source", p.spec.String(), "error", err)
	case err == "" && failing:
		e.log.Info("provider answers again", "cluster", p.id.cluster, "level", p.id.level, "source", p.spec.String())
	}
	if changed {
		notify(e.membersChanged)
	}
}

// commitProviders starts the new providers and ends those that have left.
func (r *reload) commitProviders() {
	if r.next.providers == nil {
		r.next.providers = r.old.providers
		return
	}
	for _, p := range r.startProviders {
		if !slices.Contains(r.unasked, p) {
			r.e.watch(p)
		}
	}
	for id, p := range r.old.providers {
		if r.next.providers[id] != p && p.watcher != nil {
			r.e.work.Go(p.watcher.Close)
		}
	}
	if len(r.next.providers) > 0 {
		notify(r.e.membersChanged)
	}
}

// watch starts the watcher of a provider.
func (e *Engine) watch(p *provider) {
	p.watcher = discovery.Start(discovery.Options{
		Provider: p.source, Interval: p.spec.Interval, Timeout: p.spec.Timeout, Asked: p.asked,
		Publish: func(result discovery.Result) { e.publishAnswer(p, result) },
	})
}

// closeProviders ends all providers and waits for them.
func (e *Engine) closeProviders() {
	for _, p := range e.running.Load().providers {
		if p.watcher != nil {
			p.watcher.Close()
		}
	}
}

// save returns the answer in force for a later process, or nil if there is none.
func (p *provider) save() *state.Discovered {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.answeredAt.IsZero() {
		return nil
	}
	d := &state.Discovered{Level: p.id.level, Of: p.of, At: p.answeredAt.UTC()}
	for _, e := range p.entries {
		d.Servers = append(d.Servers, state.DiscoveredServer{Address: e.Address, Options: e.Options, Labels: e.Labels})
	}
	return d
}
