package topology

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"weir/checks"
	"weir/conf"
	"weir/internal/printable"
)

const (
	// quickPace is the time between two polls of a Sentinel that do not wait for the interval: after a notification, and
	// while Sentinels disagree, for at most quickTime. It bounds what a Sentinel that sends many notifications can cause.
	quickPace = 10 * time.Millisecond
	quickTime = 5 * time.Second

	// lateSlack is how much later than its time limit an answer may be used. An answer is later only if this process did
	// not run.
	lateSlack = 250 * time.Millisecond

	// problemPace is the shortest time between two texts of a problem.
	problemPace = time.Second

	// failuresShown is how many polls of a Sentinel in a row fail before that is a problem although the others decide.
	failuresShown = 3
)

// sentinelWatcher watches the Sentinels of one primary. One goroutine, run, owns the decision. Each Sentinel has a goroutine
// that polls it and one that reads its notifications; they only send what they received to run.
type sentinelWatcher struct {
	options  Options
	quorum   int
	ctx      context.Context
	cancel   context.CancelFunc
	routines sync.WaitGroup

	answers  chan answer
	lists    chan sentinelList
	streams  chan streamState
	notified chan struct{} // has room for one: a notification has arrived
	wake     chan struct{} // has room for one: servers or resets has changed

	mu      sync.Mutex
	servers []Server
	resets  int

	// The rest belongs to run.
	sentinels []*sentinel
	state     decision
	votes     []vote
	fails     []int // polls in a row without an answer
	listings  []listing
	stream    []string // why the notifications of each Sentinel do not arrive
	serving   []Server // the servers in use
	applied   int      // resets done
	members   []Member
	dropped   int
	dirty     bool // members must be computed again
	published View

	publishedAt time.Time
	polled      time.Time // when the last quick polls were started
	quick       time.Time // until when quick polls go on, unless all agree before
	noticed     time.Time // when the last notification arrived
	split       bool      // Sentinels disagree
}

// answer is the result of one poll of a Sentinel.
type answer struct {
	sentinel        int
	asked, received time.Time
	id              string
	target          target
	epoch           uint64
	err             error // no answer; checks.IsShortage: no question either
	repeated        bool  // err is that of the poll before, because it is too early to connect again
}

// streamState is the state of a subscription.
type streamState struct {
	sentinel int
	problem  string // why there are no notifications; "" = they arrive
}

// sentinelList is the replicas that a Sentinel lists.
type sentinelList struct {
	sentinel int
	listing  listing
}

// newSentinelClient reads the files and variables of a specification.
func newSentinelClient(spec conf.Topology) (*checks.RedisClient, error) {
	o := checks.Redis{User: spec.User, Password: checks.Secret(spec.Password)}
	if t := spec.TLS; t.On {
		o.TLS = &checks.TLS{ServerName: t.ServerName, CAFile: t.CAFile, CertFile: t.CertFile, KeyFile: t.KeyFile, SkipVerify: t.SkipVerify}
	}
	return o.Client()
}

// startSentinelWatcher starts the goroutines of a watcher.
func startSentinelWatcher(o Options, client *checks.RedisClient) *sentinelWatcher {
	n := len(o.Spec.Sentinels)
	w := &sentinelWatcher{
		options: o, quorum: o.Spec.Agreeing(), answers: make(chan answer), lists: make(chan sentinelList),
		streams: make(chan streamState), notified: make(chan struct{}, 1), wake: make(chan struct{}, 1), servers: slices.Clone(o.Servers),
		votes: make([]vote, n), fails: make([]int, n), listings: make([]listing, n), stream: make([]string, n),
		serving: o.Servers, dirty: true,
	}
	w.restore(o.Saved, time.Now())
	w.ctx, w.cancel = context.WithCancel(context.Background())
	names := &resolver{known: map[string]resolved{}}
	for i, address := range o.Spec.Sentinels {
		s := &sentinel{watcher: w, index: i, client: client, names: names, poke: make(chan struct{}, 1)}
		s.target = checks.Target{Cluster: o.Cluster, Server: address.String(), Address: address.String(), Host: address.Host}
		w.sentinels = append(w.sentinels, s)
		w.votes[i].sentinel = address.String()
	}
	w.routines.Go(w.run)
	for _, s := range w.sentinels {
		w.routines.Go(s.pollLoop)
		w.routines.Go(s.subscribeLoop)
	}
	return w
}

// restore continues a saved decision, which the consumer has applied.
func (w *sentinelWatcher) restore(saved Saved, now time.Time) {
	w.published = saved.View("sentinel", now)
	w.members = w.published.Members
	w.state = decision{epoch: saved.Epoch, fence: saved.Epoch, decidedAt: saved.At, stale: w.published.Stale}
	if saved.Primary != "" {
		w.state.primary = targetOf(saved.Primary)
	}
}

// SetServers replaces the servers of the cluster.
func (w *sentinelWatcher) SetServers(servers []Server) {
	w.mu.Lock()
	w.servers = slices.Clone(servers)
	w.mu.Unlock()
	signal(w.wake)
}

// Reset drops the epoch fence and asks all Sentinels. The primary stays in force until a quorum has answered.
func (w *sentinelWatcher) Reset() {
	w.mu.Lock()
	w.resets++
	w.mu.Unlock()
	signal(w.wake)
}

// Close ends all connections and waits for the goroutines.
func (w *sentinelWatcher) Close() {
	w.cancel()
	w.routines.Wait()
}

// signal fills a channel that has room for one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// run owns the decision until Close.
func (w *sentinelWatcher) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-w.ctx.Done():
			return
		case a := <-w.answers:
			w.take(a, time.Now())
		case l := <-w.lists:
			if l.listing.replicas == nil { // no reply: the last list holds
				l.listing.replicas = w.listings[l.sentinel].replicas
			}
			l.listing.received = true
			w.listings[l.sentinel], w.dirty = l.listing, true
		case s := <-w.streams:
			w.stream[s.sentinel] = s.problem
		case <-w.notified:
			w.noticed = time.Now()
			w.quick = w.noticed.Add(quickTime)
		case <-w.wake:
			w.takeChanges()
		case <-timer.C:
		}
		now := time.Now()
		w.expire(now)
		w.evaluate(now)
		timer.Reset(w.pollQuickly(now))
	}
}

// take records an answer.
func (w *sentinelWatcher) take(a answer, now time.Time) {
	v := &w.votes[a.sentinel]
	switch {
	case now.Sub(a.asked) > w.options.Spec.Timeout+lateSlack:
		w.forget(a.sentinel)
		return
	case a.err != nil:
		if !a.repeated {
			w.fails[a.sentinel]++
		}
		v.reason = printable.Clip(a.err.Error(), 2*printable.MaxQuote)
		// That this host cannot ask says nothing about the Sentinel: its last answer holds until it is too old.
		if v.state != named || !checks.IsShortage(a.err) {
			v.state = failed
		}
		return
	}
	if v.state != named || !v.target.same(a.target) || v.epoch != a.epoch || v.id != a.id {
		w.dirty = true
	}
	w.fails[a.sentinel] = 0
	v.state, v.target, v.epoch, v.asked, v.received, v.id, v.reason = named, a.target, a.epoch, a.asked, a.received, a.id, ""
}

// forget makes a vote pending and asks the Sentinel.
func (w *sentinelWatcher) forget(i int) {
	w.votes[i].state = pending
	signal(w.sentinels[i].poke)
}

// expire drops the votes that a later poll should have replaced: this process did not run, or could not ask.
func (w *sentinelWatcher) expire(now time.Time) {
	limit := w.options.Spec.Interval + w.options.Spec.Timeout + lateSlack
	for i := range w.votes {
		if v := &w.votes[i]; v.state == named && now.Sub(v.asked) > limit {
			w.dirty = true
			if w.fails[i] > 0 {
				v.state = failed // this host could not ask, for v.reason
			} else {
				w.forget(i)
			}
		}
	}
}

// takeChanges takes new servers and resets.
func (w *sentinelWatcher) takeChanges() {
	w.mu.Lock()
	servers, resets := w.servers, w.resets
	w.mu.Unlock()
	w.serving, w.dirty = servers, true
	if resets != w.applied {
		w.applied = resets
		w.state.reset()
		for i := range w.votes {
			w.forget(i)
		}
	}
}

// evaluate decides and publishes the result if it is new.
func (w *sentinelWatcher) evaluate(now time.Time) {
	before := w.state
	w.state.step(w.votes, w.quorum, w.options.Spec.Timeout, now)
	d := &w.state
	// Lists are used only with a confirmed decision: while it is stale, the roles stay as they are.
	if d.stale.IsZero() && (w.dirty || d.changed(&before)) {
		list, dropped := members(d, w.votes, w.listings, w.quorum, w.serving)
		if w.awaitsLists() {
			list = withKnown(list, w.members)
		}
		w.members, w.dropped, w.dirty = list, dropped, false
	}
	if d.decidedAt.IsZero() && d.problem == "" {
		return // nothing is known yet
	}
	v := View{
		Members: w.members, Primary: d.primary.address, Source: printable.Clip(d.source(), printable.MaxLine), Epoch: d.epoch, Fence: d.fence,
		DecidedAt: d.decidedAt, LastEvidence: d.lastEvidence, Stale: d.stale, Problem: printable.Clip(w.problem(), printable.MaxLine),
	}
	if len(d.rivals) > 0 {
		v.Primary = ""
	}
	if w.isNews(&v, now) {
		w.published, w.publishedAt = v, now
		w.options.Publish(v)
	}
}

// awaitsLists reports whether a Sentinel that names the primary has not been asked for its list of replicas yet, as at the
// start of a process that continues another one's decision.
func (w *sentinelWatcher) awaitsLists() bool {
	for i, v := range w.votes {
		if v.state == named && v.target.same(w.state.primary) && !w.listings[i].received {
			return true
		}
	}
	return false
}

// changed reports whether members depend on what differs from an earlier state.
func (d *decision) changed(before *decision) bool {
	return d.primary.address != before.primary.address || d.epoch != before.epoch || d.stale != before.stale ||
		len(d.rivals) != len(before.rivals) || d.problem != before.problem
}

// isNews reports whether a view differs from the last one. Another text of a problem waits until problemPace has passed: when
// several Sentinels fail at once, the text changes with each.
func (w *sentinelWatcher) isNews(v *View, now time.Time) bool {
	if equal(v, &w.published) {
		return false
	}
	same := *v
	same.Problem = w.published.Problem
	return v.Problem == "" || w.published.Problem == "" || !equal(&same, &w.published) || now.Sub(w.publishedAt) >= problemPace
}

func equal(a, b *View) bool {
	return a.Primary == b.Primary && a.Source == b.Source && a.Epoch == b.Epoch && a.Fence == b.Fence && a.DecidedAt.Equal(b.DecidedAt) &&
		a.LastEvidence.Equal(b.LastEvidence) && a.Stale.Equal(b.Stale) && a.Problem == b.Problem && slices.Equal(a.Members, b.Members)
}

// problem describes what an operator must know about the source: why there is no decision, else what it lacks.
func (w *sentinelWatcher) problem() string {
	d := &w.state
	silent, text := 0, ""
	for i, v := range w.votes {
		t := twin(w.votes, i)
		switch {
		case t >= 0:
			text += fmt.Sprintf("; %s is the same Sentinel as %s", v.sentinel, w.votes[t].sentinel)
		case v.state == failed && (w.fails[i] >= failuresShown || d.problem != ""):
			silent++
			text += "; " + v.sentinel + ": " + v.reason
		}
	}
	switch {
	case d.problem != "":
		return d.problem + text
	case silent > 0:
		return fmt.Sprintf("%d of %d Sentinels do not answer", silent, len(w.votes)) + text
	case text != "":
		return text[len("; "):]
	case d.decidedAt.IsZero():
		return ""
	case !w.options.Spec.Discover && !slices.ContainsFunc(w.serving, d.primary.is):
		return fmt.Sprintf("the primary %s is not a server of the cluster", d.primary.address)
	}
	for i, l := range w.listings {
		if problem := cmp.Or(l.problem, w.stream[i]); problem != "" && w.votes[i].state == named {
			return w.votes[i].sentinel + ": " + problem
		}
	}
	if w.dropped > 0 {
		return fmt.Sprintf("the Sentinels list more than %d servers; %d are not used", MaxMembers, w.dropped)
	}
	return ""
}

// pollQuickly asks all Sentinels if a notification has arrived or they disagree, and returns when to look again.
func (w *sentinelWatcher) pollQuickly(now time.Time) time.Duration {
	split := w.state.confirm || w.disagree()
	if w.state.confirm || split && !w.split {
		w.quick = now.Add(quickTime)
	}
	w.split = split
	if now.After(w.quick) || !split && w.askedSince(w.noticed) {
		w.quick = time.Time{}
		return min(w.options.Spec.Interval, time.Second)
	}
	if wait := w.polled.Add(quickPace).Sub(now); wait > 0 && wait <= quickPace {
		return wait
	}
	w.polled = now
	for _, s := range w.sentinels {
		signal(s.poke)
	}
	return quickPace
}

// disagree reports whether a Sentinel names another address than another one, or than the decision.
func (w *sentinelWatcher) disagree() bool {
	list, _, _ := candidates(w.votes)
	return len(list) > 1 || len(list) == 1 && !list[0].target.same(w.state.primary)
}

// askedSince reports whether every Sentinel that answers has been asked since a time.
func (w *sentinelWatcher) askedSince(at time.Time) bool {
	for _, v := range w.votes {
		if v.state == pending || v.state == named && v.asked.Before(at) {
			return false
		}
	}
	return true
}
