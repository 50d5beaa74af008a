package soak

// Faults, reloads, upgrades and overrides during the run.

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
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
	weir     *weirProcess
	verifier *verifier
	faultLog *faultLog
	hosts    []testServer
	names    []string // names of hosts
	first    *randomConfig

	mu      sync.Mutex
	current *randomConfig // the running configuration
	open    map[string]func()

	reloads, changes, requests atomic.Int64 // without rejected reloads
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

// overrideRandomly overrides states and weights, and cuts sessions.
func (k *faultInjector) overrideRandomly(ctx context.Context, r *rand.Rand) {
	for sleep(ctx, r, 100*time.Millisecond, 1200*time.Millisecond) {
		at := k.first.servers[r.IntN(len(k.first.servers))]
		path := fmt.Sprintf("/v1/clusters/c%d/servers/%s", at.cluster, url.PathEscape(at.name))
		switch r.IntN(6) {
		case 0:
			over := k.faultLog.begin(kill, at.name)
			k.call(http.MethodDelete, path+"/sessions", "")
			over()
		case 1, 2:
			state := []string{"maint", "drain"}[r.IntN(2)]
			over := k.faultLog.begin(maint, at.name)
			k.call(http.MethodPatch, path, fmt.Sprintf(`{"state": %q, "reason": "soak"}`, state))
			sleep(ctx, r, 100*time.Millisecond, time.Second)
			k.call(http.MethodPatch, path, `{"state": null}`)
			over()
		case 3:
			k.call(http.MethodPatch, path, fmt.Sprintf(`{"weight": %d}`, r.IntN(20)))
		case 4:
			over := k.faultLog.begin(limit, fmt.Sprintf("c%d", at.cluster))
			k.call(http.MethodPatch, path, fmt.Sprintf(`{"max_sessions": %d}`, 1+r.IntN(5)))
			sleep(ctx, r, 100*time.Millisecond, time.Second)
			k.call(http.MethodPatch, path, `{"max_sessions": null}`)
			over()
		case 5:
			k.call(http.MethodPatch, path, `{"weight": null}`)
		}
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

// readStatus reads the status, lists, events and metrics.
func (k *faultInjector) readStatus(ctx context.Context, r *rand.Rand) {
	for sleep(ctx, r, 300*time.Millisecond, 1500*time.Millisecond) {
		k.call(http.MethodGet, []string{"/v1/status", "/v1/sessions", "/v1/clusters", "/v1/events?follow=false"}[r.IntN(4)], "")
		m, err := k.weir.metrics()
		if err != nil {
			k.verifier.report("metrics: %v", err)
			continue
		}
		for name, v := range m {
			if v < 0 {
				k.verifier.report("metrics: %s is %g", name, v)
			}
		}
	}
}

// call makes an API request. 404 is accepted, because a reload may have removed the server.
func (k *faultInjector) call(method, path, body string) {
	k.requests.Add(1)
	_, err := k.weir.call(method, path, body)
	var no *statusError
	if err != nil && !(errors.As(err, &no) && no.status == http.StatusNotFound) {
		k.verifier.report("%s %s %s: %v", method, path, body, err)
	}
}

// restore ends all overrides and reloads the first configuration.
func (k *faultInjector) restore() {
	for _, at := range k.first.servers {
		path := fmt.Sprintf("/v1/clusters/c%d/servers/%s", at.cluster, url.PathEscape(at.name))
		k.call(http.MethodPatch, path, `{"state": null, "weight": null, "max_sessions": null}`)
	}
	k.reload(k.first)
}
