package soak

// Faults of servers and of weir itself, and upgrades.

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// testServer is a server that can be killed and restarted.
type testServer interface {
	start() error
	kill()
	stop()
	sessions() int
}

// faultInjector injects faults into weir and logs them.
type faultInjector struct {
	weir      *weirProcess
	verifier  *verifier
	faultLog  *faultLog
	hosts     []testServer
	names     []string // names of hosts
	refusers  []namedRefuser
	providers []*provider
	first     *randomConfig

	mu      sync.Mutex
	current *randomConfig // the running configuration
	open    map[condition]func()

	reloads, changes, requests, hangUps, refusals, listings, garbled atomic.Int64 // without rejected reloads
}

// How long a suspension lasts.
const (
	minSuspension = 500 * time.Millisecond
	maxSuspension = 5 * time.Second
)

// sleep sleeps for a random time and reports whether the run continues.
func sleep(ctx context.Context, r *rand.Rand, least, most time.Duration) bool {
	wait := time.NewTimer(least + time.Duration(r.Int64N(int64(most-least))))
	defer wait.Stop()
	select {
	case <-wait.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// killServers kills and restarts servers.
func (k *faultInjector) killServers(ctx context.Context, r *rand.Rand) {
	for sleep(ctx, r, 300*time.Millisecond, 3*time.Second) {
		i := r.IntN(len(k.hosts))
		over := k.faultLog.begin(killed, k.names[i])
		k.hosts[i].kill()
		sleep(ctx, r, 50*time.Millisecond, 1500*time.Millisecond)
		if err := k.hosts[i].start(); err != nil {
			k.verifier.report("server %s cannot be restarted: %v", k.names[i], err)
		}
		over()
	}
}

// upgradeRandomly upgrades the process.
func (k *faultInjector) upgradeRandomly(ctx context.Context, r *rand.Rand) {
	for sleep(ctx, r, 4*time.Second, 15*time.Second) {
		if err := k.weir.upgrade(); err != nil {
			k.verifier.report("upgrade: %v", err)
		}
	}
}

// suspendRandomly stops the process with SIGSTOP and continues it, as a migration of its virtual machine would.
func (k *faultInjector) suspendRandomly(ctx context.Context, r *rand.Rand) {
	for sleep(ctx, r, 5*time.Second, 20*time.Second) {
		over, err := k.weir.suspend(k.faultLog)
		if err != nil { // it has ended after an upgrade
			continue
		}
		sleep(ctx, r, minSuspension, maxSuspension)
		over()
	}
}
