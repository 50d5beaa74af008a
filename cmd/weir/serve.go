package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"weir/conf"
	"weir/internal/engine"
)

// spareProcs is how many processors of the Go scheduler are kept above the event loops, so that checks, reloads and the
// garbage collector always find one.
const spareProcs = 2

// serve runs a configuration until it is told to stop.
func serve(ctx context.Context, file string, stderr io.Writer) int {
	cfg, err := conf.Load(file)
	if err != nil {
		fmt.Fprintln(stderr, err)
		return exitUsage
	}
	signal.Ignore(syscall.SIGPIPE) // a log that nobody reads any more
	// One channel each, so that a storm of one signal cannot push out another; a reload that is asked for while one is
	// under way is made once, after it.
	reloads, reopens, stops := notified(1, syscall.SIGHUP), notified(1, syscall.SIGUSR1), notified(2, syscall.SIGTERM, syscall.SIGINT)
	defer func() {
		for _, c := range []chan os.Signal{reloads, reopens, stops} {
			signal.Stop(c)
		}
	}()

	out, err := openLog(cfg.Log, stderr)
	if err != nil {
		fmt.Fprintln(stderr, err)
		return exitNoStart
	}
	defer out.close()
	log := out.logger(cfg.Log)
	loops := cfg.Runtime.Loops
	if loops == 0 {
		loops = runtime.NumCPU()
	}
	runtime.GOMAXPROCS(max(runtime.GOMAXPROCS(0), loops+spareProcs))

	for _, w := range cfg.Warnings {
		log.Warn(w.String())
	}
	e, err := engine.Start(cfg, engine.Options{Log: log, Sessions: out.sessions(cfg.Log)})
	if err != nil {
		for _, line := range lines(err) {
			log.Error("cannot start", "error", line)
		}
		return exitNoStart
	}
	log.Info("ready", "file", file, "listeners", len(cfg.Listeners), "clusters", len(cfg.Clusters), "loops", loops, "pid", os.Getpid())
	notify(log, daemon.SdNotifyReady)

	d := &daemonState{file: file, engine: e, out: out, log: log}
	for {
		select {
		case <-reloads:
			d.reload()
		case <-reopens:
			d.reopen()
		case sig := <-stops:
			return d.stop(ctx, stops, sig)
		case <-ctx.Done():
			return d.stop(context.WithoutCancel(ctx), stops, syscall.SIGTERM)
		}
	}
}

func notified(room int, signals ...os.Signal) chan os.Signal {
	c := make(chan os.Signal, room)
	signal.Notify(c, signals...)
	return c
}

// daemonState is what the signals act on.
type daemonState struct {
	file   string
	engine *engine.Engine
	out    *logOutput
	log    *slog.Logger
}

// reload goes over to what the file says now, or says why not and changes nothing.
func (d *daemonState) reload() {
	began := time.Now()
	cfg, err := conf.Load(d.file)
	if err == nil {
		err = d.engine.Reload(cfg)
	}
	if err != nil {
		for _, line := range lines(err) {
			d.log.Error("reload_failed", "event", "reload_failed", "error", line)
		}
		return
	}
	for _, w := range cfg.Warnings {
		d.log.Warn(w.String())
	}
	if err := d.out.change(cfg.Log); err != nil {
		d.log.Error("log file", "error", err)
	}
	d.log.Info("reload", "event", "reload", "file", d.file, "took_ms", float64(time.Since(began).Microseconds())/1000)
}

func (d *daemonState) reopen() {
	if err := d.out.reopen(); err != nil {
		d.log.Error("cannot reopen the log file", "error", err)
		return
	}
	d.log.Info("log file reopened")
}

// stop drains. A second signal cuts what is left.
func (d *daemonState) stop(ctx context.Context, again chan os.Signal, sig os.Signal) int {
	notify(d.log, daemon.SdNotifyStopping)
	d.log.Info("stopping", "signal", sig.String(), "sessions", d.engine.Sessions())
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan int, 1)
	go func() { done <- d.engine.Stop(ctx) }()
	for {
		select {
		case <-again:
			cancel()
		case cut := <-done:
			d.log.Info("stopped", "sessions_cut", cut)
			if cut > 0 {
				return exitCut
			}
			return exitDone
		}
	}
}

func notify(log *slog.Logger, state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		log.Debug("service manager", "error", err)
	}
}
