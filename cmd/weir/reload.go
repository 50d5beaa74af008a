package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"weir/admin"
	"weir/conf"
	"weir/internal/engine"
	"weir/internal/status"
)

// reload is a reload whose configuration is being read. That may take a while, because files that are being written are
// waited for. The daemon's goroutine handles other requests meanwhile, and then applies the configuration.
type reload struct {
	began    time.Time
	waiters  []chan error // requests that wait for the result
	finished func(error)  // notifies the service manager
	cancel   func()
	loaded   chan loadResult
}

// loadResult is a configuration, or why it could not be loaded.
type loadResult struct {
	cfg loaded
	err error
}

// result returns the channel that delivers the configuration; nil if there is no reload.
func (r *reload) result() chan loadResult {
	if r == nil {
		return nil
	}
	return r.loaded
}

// requestReload starts a reload. waiter receives the result; it may be nil. During a reload, it causes one more after it
// for all requests that arrive meanwhile.
func (d *daemon) requestReload(waiter chan error) {
	waiters := []chan error{}
	if waiter != nil {
		waiters = append(waiters, waiter)
	}
	if d.loading != nil {
		d.reloadNext = append(waiters, d.reloadNext...)
		return
	}
	d.startReload(d.engine.RunningShared(), waiters)
}

// sharedRequest is a request for a reload with another shared configuration; nil = with the listeners and clusters of the
// file.
type sharedRequest struct {
	shared *conf.Shared
	result chan error
}

// startReload starts to read the file for a reload with a shared configuration. No other reload may be in progress.
func (d *daemon) startReload(shared *conf.Shared, waiters []chan error) {
	ctx, cancel := context.WithCancel(d.signals.stopRequested)
	r := &reload{began: time.Now(), waiters: waiters, finished: d.manager.reloading(d.engine), cancel: cancel, loaded: make(chan loadResult, 1)}
	d.loading = r
	go func() {
		cfg, err := load(ctx, conf.Input{Path: d.file, Regular: true, Shared: shared})
		r.loaded <- loadResult{cfg, err}
	}()
}

// finishReload applies the configuration of a reload, or changes nothing if it could not be loaded. It starts the next
// reload if there were requests for one.
func (d *daemon) finishReload(loaded loadResult) {
	r := d.loading
	d.loading = nil
	r.cancel()
	if errors.Is(loaded.err, context.Canceled) {
		r.reply(errStopping)
		return
	}
	r.reply(d.reload(r, loaded))
	if next := d.reloadNext; next != nil {
		d.reloadNext = nil
		d.requestReload(nil)
		d.loading.waiters = next
	}
}

// reply ends a reload and sends its result to the requests that wait for it.
func (r *reload) reply(err error) {
	r.finished(err)
	for _, w := range r.waiters {
		w <- err
	}
}

// cancelReload ends a reload that is in progress, for a stop.
func (d *daemon) cancelReload() {
	if r := d.loading; r != nil {
		r.cancel()
		<-r.loaded
		d.loading = nil
		r.reply(errStopping)
	}
	for _, w := range d.reloadNext {
		w <- errStopping
	}
	d.reloadNext = nil
}

// errStopping is the result of a reload that was requested before a stop.
var errStopping = &status.RequestError{Kind: status.Unavailable, Text: engine.ErrStopped.Error()}

// reload applies a configuration and records the result.
func (d *daemon) reload(r *reload, loaded loadResult) error {
	err := loaded.err
	if err == nil {
		err = d.apply(loaded.cfg)
	}
	d.engine.Reloaded(err)
	if err != nil {
		for _, line := range errorLines(err) {
			d.log.Error("reload_failed", "event", "reload_failed", "error", line)
		}
		return err
	}
	for _, w := range loaded.cfg.Warnings {
		d.log.Warn("configuration warning", "warning", w.String())
	}
	d.log.Info("reload", "event", "reload", "file", d.file, "took_ms", float64(time.Since(r.began).Microseconds())/1000)
	d.checkStaleLater(loaded.cfg.files)
	return nil
}

// staleAfter is how long after a commit the files on disk are compared with those that were read.
const staleAfter = time.Second

// checkStaleLater compares the files of the configuration that has come into force with those on disk, after a while.
func (d *daemon) checkStaleLater(files *conf.Files) {
	d.loaded, d.staleCheck = files, time.After(staleAfter)
}

// reportStale reports files that have changed since they were read: the configuration in force may have half of them.
func (d *daemon) reportStale() {
	d.staleCheck = nil
	if changed := d.loaded.Changed(); len(changed) > 0 {
		d.engine.ReportStale(changed)
		d.log.Warn("reload_stale", "event", "reload_stale", "files", changed)
	}
}

// apply prepares the log, the API and the engine, and commits them if all succeed. Nothing fails after the engine has
// committed.
func (d *daemon) apply(cfg loaded) error {
	log, err := d.out.prepare(cfg.Log)
	if err != nil {
		return conf.Errors{cfg.KeyError("log", "file", err)}
	}
	api, err := prepareAPI(d.api, cfg)
	if err != nil {
		log.discard()
		return err
	}
	if err := d.engine.Reload(cfg.Config, cfg.monitors); err != nil {
		log.discard()
		api.Discard()
		return err
	}
	api.Commit()
	log.commit()
	return nil
}

// prepareAPI opens the addresses of the API. Errors have positions in the file.
func prepareAPI(api *admin.Server, cfg loaded) (*admin.Change, error) {
	change, err := api.Prepare(cfg.Admin, cfg.guard)
	if err == nil {
		return change, nil
	}
	var errs []error
	for _, line := range errorLines(err) {
		errs = append(errs, fmt.Errorf("%s: %w", cfg.AdminPosition(), line))
	}
	return nil, errors.Join(errs...)
}

func (d *daemon) reopenLog() {
	if err := d.out.reopen(); err != nil {
		d.log.Error("cannot reopen the log file", "error", err)
		return
	}
	d.log.Info("log file reopened")
}
