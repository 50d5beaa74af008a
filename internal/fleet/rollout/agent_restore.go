package rollout

import (
	"context"
	"time"

	"weir/internal/fleet"
)

// restoreDelay is how long a node that knows only its own revision lets the others fill an empty store first.
const restoreDelay = 10 * time.Second

// restore fills a store that has lost the configuration with what this node runs.
func (a *Agent) restore(ctx context.Context, now time.Duration) {
	a.mu.Lock()
	r, text, lost := a.known.record, a.text, a.known.usable() && !a.known.stored
	a.mu.Unlock()
	if !lost || a.follower.runs <= 0 {
		a.emptyAt = -1
		return
	}
	if a.emptyAt < 0 {
		a.emptyAt = now
	}
	if r == nil || r.Current() != a.follower.runs {
		if now < a.emptyAt+restoreDelay {
			return
		}
		r = &Record{Phase: Done, ID: 1, To: a.follower.runs, Last: a.follower.runs, By: "fleet", Began: time.Now(), Ended: time.Now(), History: []Entry{}}
	}
	if r.Phase.Active() {
		r = r.finished(RolledBack, Reason{Text: "the store has lost the roll-out"}, time.Now())
	}
	value, err := Revision{Text: string(text), By: "fleet", Node: a.o.Node, At: time.Now()}.Encode()
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	_, err = a.o.Store.Commit(ctx, fleet.Txn{
		If:  []fleet.Condition{{Key: fleet.RolloutKey}},
		Put: []fleet.Put{{Key: fleet.RolloutKey, Value: r.Encode()}, {Key: RevisionKey(r.Current()), Value: value}},
	})
	if err == nil {
		a.o.Log.Info("fleet: shared configuration restored in the store", "revision", r.Current())
	}
}
