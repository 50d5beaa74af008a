package engine

import (
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"weir/balance"
	"weir/checks"
	"weir/internal/status"
	"weir/l4"
)

// handleEvent does everything that follows from an event of a cluster. It is called on the loops of the data plane and
// does not block.
func (e *Engine) handleEvent(ev balance.Event) {
	if ev.Kind == balance.EventFirstSession {
		e.failovers.firstSession(ev.Cluster)
		return
	}
	ev.Reason = reasonOf(ev)
	notify(e.vips.changed)
	e.queueCut(ev)
	if ev.Kind == balance.EventRebalanceBegin {
		if b := e.running.Load().clusters[ev.Cluster]; b != nil {
			e.closings.closeSurplus(ev.Cluster, b)
		}
	}
	if ev.To == balance.Failing.String() || ev.From == balance.InMaint.String() { // the last verdict is in doubt
		e.serversToRecheck.add(checks.Key{Cluster: ev.Cluster, Server: ev.Server})
	}
	if e.published.handedOver.Load() { // the new process reports events
		return
	}
	if ev.Unproven && !e.unproven.allow(e.log, ev.Cluster, time.Now()) { // the status has it
		return
	}
	if e.ofFoundServers(ev) && !e.noise.allow(e.log, ev, time.Now(), e.reportLate) {
		return
	}
	e.report(ev)
}

// reportLate reports an event that was left out, unless the new process of an upgrade reports events.
func (e *Engine) reportLate(ev balance.Event) {
	if !e.published.handedOver.Load() {
		e.report(ev)
	}
}

// report puts an event into the event log and the log.
func (e *Engine) report(ev balance.Event) {
	e.published.eventLog.put(status.Event{ // which also sends it to hooks and event streams
		Time: time.Now(), Event: string(ev.Kind), Cluster: ev.Cluster, Level: ev.Level, Server: ev.Server,
		From: ev.From, To: ev.To, Layer: ev.Layer, Reason: ev.Reason, By: e.eventBy(ev),
	})
	e.stateFile.Changed()
	logEvent(e.log, ev)
}

// eventBy returns who asked for an override, or "" for an event of another layer.
func (e *Engine) eventBy(ev balance.Event) string {
	if ev.Layer != string(balance.ByOverride) || ev.Server == "" {
		return ""
	}
	by, _ := e.published.overrideBy.Load([2]string{ev.Cluster, ev.Server})
	name, _ := by.(string)
	return name
}

// serverToCut is a server whose sessions are cut at once.
type serverToCut struct {
	server *balance.Server
	closer *l4.Closer // of its cluster
}

// queueCut ends the sessions of a server if its new state does (on_down = "close"): at once by cutServersDown, or at the
// pace of close_rate.
func (e *Engine) queueCut(ev balance.Event) {
	running := e.running.Load()
	ends := ev.To == balance.Down.String() || ev.To == balance.Standby.String() || ev.To == balance.InMaint.String()
	if ev.Layer == string(balance.ByTopology) { // cutRoleLost decides
		ends = false
	}
	if !ends || running.cfg == nil {
		return
	}
	c := running.cfg.Cluster(ev.Cluster)
	if c == nil || c.OnDown != "close" {
		return
	}
	s := running.clusters[c.Name].Server(ev.Server)
	if s == nil {
		return
	}
	if closer := e.closings.closer(c.Name); closer.Paced() {
		e.closings.closeServerDown(c.Name, s, e.plane.Now()+c.CloseDeadline, false)
	} else {
		e.serversToCut.add(serverToCut{s, closer})
	}
}

// cutServersDown cuts the sessions of servers.
func (e *Engine) cutServersDown(servers map[serverToCut]bool) {
	closers, counts := map[*balance.Server]*l4.Closer{}, map[*l4.Closer]*atomic.Int64{}
	for s := range servers {
		closers[s.server], counts[s.closer] = s.closer, &atomic.Int64{}
	}
	n := e.plane.Cut(func(s l4.SessionIdentity) bool {
		closer := closers[s.Server]
		if closer != nil && !s.Listener.UDP() {
			counts[closer].Add(1)
		}
		return closer != nil
	}, l4.ReasonCutServerDown)
	for closer, n := range counts {
		closer.Count(l4.ReasonCutServerDown, false, int(n.Load()))
	}
	if n > 0 {
		e.log.Info("sessions cut", "sessions", n, "reason", "server down")
	}
}

// recheck runs all checks of servers at once.
func (e *Engine) recheck(servers map[checks.Key]bool) {
	for s := range servers {
		e.runner.Recheck(s.Cluster, s.Server)
	}
}

func logEvent(log *slog.Logger, ev balance.Event) {
	level := slog.LevelInfo
	if ev.Kind == balance.EventServerDown || ev.Kind == balance.EventClusterEmpty {
		level = slog.LevelWarn
	}
	attrs := []slog.Attr{slog.String("event", string(ev.Kind)), slog.String("cluster", ev.Cluster)}
	for _, a := range []slog.Attr{
		slog.String("cluster_level", ev.Level), slog.String("server", ev.Server), slog.String("from", ev.From),
		slog.String("to", ev.To), slog.String("layer", string(ev.Layer)), slog.String("reason", ev.Reason),
	} {
		if a.Value.String() != "" {
			attrs = append(attrs, a)
		}
	}
	log.LogAttrs(context.Background(), level, string(ev.Kind), attrs...)
}

// Events returns the events after the one with an ID, oldest first; 0 = from the oldest. missed is the number of those
// that are no longer in the event log. With wait, it returns when there is at least one, or with the error of ctx.
func (e *Engine) Events(ctx context.Context, after uint64, wait bool) (events []status.Event, missed uint64, err error) {
	for {
		events, missed, next := e.published.eventLog.after(after)
		if len(events) > 0 || !wait {
			return events, missed, nil
		}
		select {
		case <-next:
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		}
	}
}

// Reloaded records the result of a reload: nil, or why it failed.
func (e *Engine) Reloaded(err error) {
	now := time.Now()
	ev := status.Event{Time: now, Event: "reload"}
	e.published.mu.Lock()
	c := &e.published.config
	c.Reloads++
	if err != nil {
		c.Failed++
		c.LastError, c.LastErrorAt = err.Error(), &now
		ev.Event, ev.Reason = "reload_failed", err.Error()
	} else {
		c.LoadedAt, c.LastError, c.LastErrorAt, c.StaleFiles = now, "", nil, nil
	}
	e.published.mu.Unlock()
	e.published.eventLog.put(ev)
}

// RecordEvent puts an event of another package into the event log.
func (e *Engine) RecordEvent(ev status.Event) { e.published.eventLog.put(ev) }

// UpgradeFailed records why an upgrade failed.
func (e *Engine) UpgradeFailed(err error) {
	e.published.eventLog.put(status.Event{Time: time.Now(), Event: "upgrade_failed", Reason: err.Error()})
}

// ReportStale records that files of the running configuration changed while or just after it came into force.
func (e *Engine) ReportStale(files []string) {
	ev := status.Event{Time: time.Now(), Event: "reload_stale", Reason: "changed after they were read: " + strings.Join(files, ", ")}
	e.published.mu.Lock()
	e.published.config.StaleFiles = files
	e.published.mu.Unlock()
	e.published.eventLog.put(ev)
}
