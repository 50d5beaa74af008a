package soak

// What is done to weir while it works.

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

// host is a server that can die and come back.
type host interface {
	start() error
	die()
	stop()
	sessions() int
}

// chaos does things to weir and enters them in the ledger.
type chaos struct {
	weir   *process
	judge  *judge
	ledger *ledger
	hosts  []host
	called []string // the names of the hosts
	first  *world

	mu   sync.Mutex
	now  *world // what is in force
	open map[string]func()

	reloads, changes, requests atomic.Int64 // those that are refused apart
}

// sleep waits for a random time and reports whether the run still goes on.
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

// murders lets servers die and come back.
func (k *chaos) murders(ctx context.Context, r *rand.Rand) {
	for sleep(ctx, r, 300*time.Millisecond, 3*time.Second) {
		i := r.IntN(len(k.hosts))
		over := k.ledger.begin(death, k.called[i])
		k.hosts[i].die()
		sleep(ctx, r, 50*time.Millisecond, 1500*time.Millisecond)
		if err := k.hosts[i].start(); err != nil {
			k.judge.complain("server %s does not come back: %v", k.called[i], err)
		}
		over()
	}
}

// reloading changes the configuration.
func (k *chaos) reloading(ctx context.Context, r *rand.Rand) {
	for sleep(ctx, r, 200*time.Millisecond, 2*time.Second) {
		k.mu.Lock()
		next := k.now.clone()
		now := k.now.String()
		k.mu.Unlock()
		if r.IntN(8) == 0 {
			if err := k.weir.refuses(now+"[listener]\nadress = 1\n", now); err != nil {
				k.judge.complain("%v", err)
			}
		}
		for range 1 + r.IntN(3) {
			if next.mutate(r) != "nothing" {
				k.changes.Add(1)
			}
		}
		k.goOver(next)
	}
}

// goOver reloads. What is about to go or to be limited is so from before the reload, and is again what it was after.
func (k *chaos) goOver(next *world) {
	want := map[string]func() func(){}
	for _, name := range names(next.absent()) {
		want["absent "+name] = func() func() { return k.ledger.begin(absence, name) }
	}
	for _, name := range names(next.limited()) {
		want["limited "+name] = func() func() { return k.ledger.begin(limit, name) }
	}
	for key, begin := range want {
		if k.open[key] == nil {
			k.open[key] = begin()
		}
	}
	if err := k.weir.reload(next.String()); err != nil {
		k.judge.complain("reload: %v", err)
	}
	k.reloads.Add(1)
	for key, over := range k.open {
		if want[key] == nil {
			over()
			delete(k.open, key)
		}
	}
	k.mu.Lock()
	k.now = next
	k.mu.Unlock()
}

// operating overrides states and weights, and cuts sessions.
func (k *chaos) operating(ctx context.Context, r *rand.Rand) {
	for sleep(ctx, r, 100*time.Millisecond, 1200*time.Millisecond) {
		at := k.first.servers[r.IntN(len(k.first.servers))]
		path := fmt.Sprintf("/v1/clusters/c%d/servers/%s", at.cluster, url.PathEscape(at.name))
		switch r.IntN(6) {
		case 0:
			over := k.ledger.begin(kill, at.name)
			k.tell(http.MethodDelete, path+"/sessions", "")
			over()
		case 1, 2:
			state := []string{"maint", "drain"}[r.IntN(2)]
			over := k.ledger.begin(maint, at.name)
			k.tell(http.MethodPatch, path, fmt.Sprintf(`{"state": %q, "reason": "soak"}`, state))
			sleep(ctx, r, 100*time.Millisecond, time.Second)
			k.tell(http.MethodPatch, path, `{"state": null}`)
			over()
		case 3:
			k.tell(http.MethodPatch, path, fmt.Sprintf(`{"weight": %d}`, r.IntN(20)))
		case 4:
			over := k.ledger.begin(limit, fmt.Sprintf("c%d", at.cluster))
			k.tell(http.MethodPatch, path, fmt.Sprintf(`{"max_sessions": %d}`, 1+r.IntN(5)))
			sleep(ctx, r, 100*time.Millisecond, time.Second)
			k.tell(http.MethodPatch, path, `{"max_sessions": null}`)
			over()
		case 5:
			k.tell(http.MethodPatch, path, `{"weight": null}`)
		}
	}
}

// upgrading replaces the process.
func (k *chaos) upgrading(ctx context.Context, r *rand.Rand) {
	for sleep(ctx, r, 4*time.Second, 15*time.Second) {
		if err := k.weir.upgrade(); err != nil {
			k.judge.complain("upgrade: %v", err)
		}
	}
}

// watching looks at everything that may be looked at.
func (k *chaos) watching(ctx context.Context, r *rand.Rand) {
	for sleep(ctx, r, 300*time.Millisecond, 1500*time.Millisecond) {
		k.tell(http.MethodGet, []string{"/v1/status", "/v1/sessions", "/v1/clusters", "/v1/events?follow=false"}[r.IntN(4)], "")
		m, err := k.weir.metrics()
		if err != nil {
			k.judge.complain("metrics: %v", err)
			continue
		}
		for name, v := range m {
			if v < 0 {
				k.judge.complain("metrics: %s is %g", name, v)
			}
		}
	}
}

// tell makes a request. A server that a reload has taken away meanwhile is no mistake.
func (k *chaos) tell(method, path, body string) {
	k.requests.Add(1)
	_, err := k.weir.ask(method, path, body)
	var no *refusal
	if err != nil && !(errors.As(err, &no) && no.status == http.StatusNotFound) {
		k.judge.complain("%s %s %s: %v", method, path, body, err)
	}
}

// calm ends everything that was done: the first configuration, no overrides, every server up.
func (k *chaos) calm() {
	for _, at := range k.first.servers {
		path := fmt.Sprintf("/v1/clusters/c%d/servers/%s", at.cluster, url.PathEscape(at.name))
		k.tell(http.MethodPatch, path, `{"state": null, "weight": null, "max_sessions": null}`)
	}
	k.goOver(k.first)
}
