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
		k.reload(next)
	}
}

// reload reloads a configuration. Absence and limits begin before the reload and end after it.
func (k *faultInjector) reload(next *randomConfig) {
	want := map[string]func() func(){}
	for _, name := range names(next.absent()) {
		want["absent "+name] = func() func() { return k.faultLog.begin(absent, name) }
	}
	for _, name := range names(next.limited()) {
		want["limited "+name] = func() func() { return k.faultLog.begin(limit, name) }
	}
	for key, begin := range want {
		if k.open[key] == nil {
			k.open[key] = begin()
		}
	}
	if err := k.weir.reload(next.String()); err != nil {
		k.verifier.report("reload: %v", err)
	}
	k.reloads.Add(1)
	for key, over := range k.open {
		if want[key] == nil {
			over()
			delete(k.open, key)
		}
	}
	k.mu.Lock()
	k.current = next
	k.mu.Unlock()
}
