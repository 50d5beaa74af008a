package soak

// Reloads of changed configurations.

import (
	"context"
	"math/rand/v2"
	"time"
)

// reloadRandomly changes the configuration.
func (k *faultInjector) reloadRandomly(ctx context.Context, r *rand.Rand) {
	for sleep(ctx, r, 200*time.Millisecond, 2*time.Second) {
		k.mu.Lock()
		next := k.current.clone()
		now := k.current.String()
		k.mu.Unlock()
		if r.IntN(8) == 0 {
			if err := k.weir.rejectInvalid(now+"[listener]\nadress = 1\n", now); err != nil {
				k.verifier.report("%v", err)
			}
		}
		for range 1 + r.IntN(3) {
			if next.mutate(r) != "nothing" {
				k.changes.Add(1)
			}
		}
		storm := 0
		if r.IntN(10) == 0 {
			storm = 2 + r.IntN(20)
		}
		k.reload(next, storm)
	}
}

// reload reloads a configuration. Its conditions begin before the reload, and those that it no longer has end after it.
// In a storm, it is the last of many that alternate with the one in force.
func (k *faultInjector) reload(next *randomConfig, storm int) {
	want := next.conditions()
	for _, c := range inOrder(want) {
		if k.open[c] == nil {
			k.open[c] = k.faultLog.begin(c.fault, c.subject)
		}
	}
	routes := k.verifier.routes.begin(next)
	for i := range storm {
		if err := k.weir.hangUp([]*randomConfig{next, k.current}[i%2].String()); err != nil {
			k.verifier.report("SIGHUP: %v", err)
		}
		k.hangUps.Add(1)
	}
	if err := k.weir.reload(next.String()); err != nil {
		k.verifier.report("reload: %v", err)
	}
	k.verifier.routes.endOthers(routes)
	k.reloads.Add(1)
	for c, over := range k.open {
		if !want[c] {
			over()
			delete(k.open, c)
		}
	}
	k.mu.Lock()
	k.current = next
	k.mu.Unlock()
}
