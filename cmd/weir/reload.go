package main

import (
	"errors"
	"fmt"
	"time"

	"weir/admin"
	"weir/conf"
)

// reload loads the file and applies it, or returns why not and changes nothing.
func (d *daemon) reload() (err error) {
	began := time.Now()
	finished := d.manager.reloading(d.engine)
	defer func() { finished(err) }()
	cfg, err := load(d.file, conf.LoadRegular)
	if err == nil {
		err = d.apply(cfg)
	}
	d.engine.Reloaded(err)
	if err != nil {
		for _, line := range errorLines(err) {
			d.log.Error("reload_failed", "event", "reload_failed", "error", line)
		}
		return err
	}
	for _, w := range cfg.Warnings {
		d.log.Warn("configuration warning", "warning", w.String())
	}
	d.log.Info("reload", "event", "reload", "file", d.file, "took_ms", float64(time.Since(began).Microseconds())/1000)
	return nil
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

// reloadFor reloads once for all requests that have arrived.
func (d *daemon) reloadFor(result chan error) {
	results := []chan error{result}
	for more := true; more; {
		select {
		case another := <-d.reloads:
			results = append(results, another)
		default:
			more = false
		}
	}
	err := d.reload()
	for _, r := range results {
		r <- err
	}
}

func (d *daemon) reopenLog() {
	if err := d.out.reopen(); err != nil {
		d.log.Error("cannot reopen the log file", "error", err)
		return
	}
	d.log.Info("log file reopened")
}
