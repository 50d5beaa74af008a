package soak

// The operator: overrides, cut sessions, and what it reads.

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"time"
)

// overrideRandomly overrides states and weights, and cuts sessions.
func (k *faultInjector) overrideRandomly(ctx context.Context, r *rand.Rand) {
	for sleep(ctx, r, 100*time.Millisecond, 1200*time.Millisecond) {
		at := k.first.servers[r.IntN(len(k.first.servers))]
		path := fmt.Sprintf("/v1/clusters/c%d/servers/%s", at.cluster, url.PathEscape(at.name))
		switch r.IntN(8) {
		case 0:
			over := k.faultLog.begin(kill, at.name)
			k.call(http.MethodDelete, path+"/sessions", "")
			over()
		case 1, 2:
			state := []string{"maint", "drain"}[r.IntN(2)]
			over := k.faultLog.begin(maint, at.name)
			k.call(http.MethodPatch, path, fmt.Sprintf(`{"state": %q, "reason": "soak"}`, state))
			sleep(ctx, r, 100*time.Millisecond, time.Second)
			k.clear(ctx, &at, path, `{"state": null}`)
			over()
		case 6:
			over := k.faultLog.begin(maint, at.name)
			k.call(http.MethodPatch, path, fmt.Sprintf(`{"state": "drain", "deadline": "%dms", "reason": "soak"}`, 100+r.IntN(1000)))
			sleep(ctx, r, 500*time.Millisecond, 2*time.Second)
			k.clear(ctx, &at, path, `{"state": null}`)
			over()
		case 7:
			k.call(http.MethodPost, fmt.Sprintf("/v1/clusters/c%d/rebalance", at.cluster), "", http.StatusConflict)
		case 3:
			k.call(http.MethodPatch, path, fmt.Sprintf(`{"weight": %d}`, r.IntN(20)))
		case 4:
			over := k.faultLog.begin(limit, fmt.Sprintf("c%d", at.cluster))
			k.call(http.MethodPatch, path, fmt.Sprintf(`{"max_sessions": %d}`, 1+r.IntN(5)))
			sleep(ctx, r, 100*time.Millisecond, time.Second)
			k.clear(ctx, &at, path, `{"max_sessions": null}`)
			over()
		case 5:
			k.call(http.MethodPatch, path, `{"weight": null}`)
		}
	}
}

// clear ends an override. That of a found server stays while its provider does not list it, and cannot be ended meanwhile.
func (k *faultInjector) clear(ctx context.Context, at *serverAddr, path, body string) {
	for k.call(http.MethodPatch, path, body) == http.StatusNotFound && at.found() && ctx.Err() == nil {
		time.Sleep(50 * time.Millisecond)
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

// call makes an API request. 404 is accepted, because the server may have been removed, and so are the given codes. It returns the
// code of a request that has failed, or 0.
func (k *faultInjector) call(method, path, body string, accepted ...int) (status int) {
	k.requests.Add(1)
	_, err := k.weir.call(method, path, body)
	var no *statusError
	if errors.As(err, &no) {
		status = no.status
	}
	if err != nil && !(no != nil && (no.status == http.StatusNotFound || slices.Contains(accepted, no.status))) {
		k.verifier.report("%s %s %s: %v", method, path, body, err)
	}
	return status
}

// restore makes providers list all servers, ends all overrides and reloads the first configuration.
func (k *faultInjector) restore() {
	k.listAll()
	for _, at := range k.first.servers {
		path := fmt.Sprintf("/v1/clusters/c%d/servers/%s", at.cluster, url.PathEscape(at.name))
		k.call(http.MethodPatch, path, `{"state": null, "weight": null, "max_sessions": null}`)
	}
	k.reload(k.first, 0)
}
