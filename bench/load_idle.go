package main

import (
	"context"
)

// warmSessions are opened and closed before the empty state is read, so that pages of the program which the first
// session touches are not counted as memory of sessions.
const warmSessions = 10

// idle opens silent sessions and measures what they cost the proxy over its own empty state.
func idle(ctx context.Context, t *trial) (values, error) {
	warm, err := t.hold(ctx, warmSessions)
	if err != nil {
		return nil, err
	}
	warm.stop()
	if err := t.settle(ctx); err != nil {
		return nil, err
	}
	return t.costOf(ctx, t.hold)
}

// costOf returns the memory and descriptors of the proxy per session of the row, which hold opens.
func (t *trial) costOf(ctx context.Context, hold func(context.Context, int) (*process, error)) (values, error) {
	before, err := t.footprint()
	if err != nil {
		return nil, err
	}
	held, err := hold(ctx, t.row.sessions)
	if err != nil {
		return nil, err
	}
	defer held.stop()
	after, err := t.footprint()
	if err != nil {
		return nil, err
	}
	n := float64(t.row.sessions)
	return values{
		metricMemory:      float64(after.pss-before.pss) / n,
		metricDescriptors: float64(after.descriptors-before.descriptors) / n,
	}, nil
}

// footprint is the memory and the descriptors of a proxy.
type footprint struct {
	pss         int64 // bytes
	descriptors int
}

func (t *trial) footprint() (f footprint, err error) {
	if f.pss, err = readPss(t.proxy.pid()); err != nil {
		return f, err
	}
	f.descriptors, err = countDescriptors(t.proxy.pid())
	return f, err
}

// requestsBesideIdle drives the same load as requests while other sessions are open and silent.
func requestsBesideIdle(ctx context.Context, t *trial) (values, error) {
	held, err := t.hold(ctx, t.row.sessions-t.row.clients)
	if err != nil {
		return nil, err
	}
	defer held.stop()
	return requests(ctx, t)
}
