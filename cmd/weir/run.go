package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"weir/admin"
	"weir/conf"
	"weir/internal/cli"
	"weir/internal/engine"
)

// spareProcs is how many processors of the Go scheduler are kept above the event loops, so that checks, reloads and the
// garbage collector always find one.
const spareProcs = 2

// serve runs a configuration until it is told to stop.
func serve(ctx context.Context, file string, stderr io.Writer) int {
	path, err := programPath()
	if err != nil {
		fmt.Fprintln(stderr, "weir: upgrades will not work:", err)
	}
	before, err := predecessor()
	if err != nil {
		fmt.Fprintln(stderr, "weir:", err)
		return cli.ExitUnreachable
	}
	failed := func(code int, err error) int {
		if before != nil {
			before.Fail(err)
		}
		return code
	}
	cfg, err := load(file, conf.Load)
	if err != nil {
		fmt.Fprintln(stderr, err)
		return failed(cli.ExitUsage, err)
	}
	// A log that nobody reads any more. The signal is taken and forgotten, not ignored: programs that weir starts would
	// inherit that, and theirs are written for the usual effect.
	pipes := notified(1, syscall.SIGPIPE)
	// One channel each, so that a storm of one signal cannot push out another; a reload that is asked for while one is
	// under way is made once, after it.
	reloads, reopens, ends := notified(1, syscall.SIGHUP), notified(1, syscall.SIGUSR1), notified(2, syscall.SIGTERM, syscall.SIGINT)
	upgrades := notified(1, syscall.SIGUSR2)
	defer func() {
		for _, c := range []chan os.Signal{pipes, reloads, reopens, ends, upgrades} {
			signal.Stop(c)
		}
	}()
	// Whoever stops weir does not wait for the names that a start or a reload asks for.
	hurry, giveUp := context.WithCancel(ctx)
	defer giveUp()
	stops, over := make(chan os.Signal, 2), make(chan struct{})
	defer close(over)
	go func() {
		for {
			select {
			case sig := <-ends:
				giveUp()
				select {
				case stops <- sig:
				default:
				}
			case <-over:
				return
			}
		}
	}()

	out, err := openLog(cfg.Log, stderr)
	if err != nil {
		err = conf.Errors{cfg.KeyError("log", "file", err)}
		fmt.Fprintln(stderr, err)
		return failed(cli.ExitUnreachable, err)
	}
	defer out.close()
	log := out.logger()
	loops := cfg.Runtime.Loops
	if loops == 0 {
		loops = runtime.NumCPU()
	}
	runtime.GOMAXPROCS(max(runtime.GOMAXPROCS(0), loops+spareProcs))

	for _, w := range cfg.Warnings {
		log.Warn(w.String())
	}
	cannot := func(err error) int {
		for _, line := range errorLines(err) {
			log.Error("cannot start", "error", line)
		}
		return failed(cli.ExitUnreachable, err)
	}
	api := admin.New(log)
	defer api.Close()
	doorsOf, sockets := forAPI(activated(log), cfg.Admin)
	api.Inherit(func(address string) *os.File {
		if before != nil {
			return before.AdminSocket(address)
		}
		return doorsOf[address]
	})
	doors, err := openDoors(api, cfg)
	if err != nil {
		return cannot(err)
	}
	e, err := engine.Start(cfg.Config, engine.Options{Monitors: cfg.monitors, Log: log, Sessions: out.enqueue, Version: version(), Activated: sockets, OldProcess: before, SkipLookups: hurry})
	if err == nil && before != nil {
		err = e.TakeOver()
	}
	if err != nil {
		doors.Discard()
		return cannot(err)
	}
	d := &daemonState{
		file: file, path: path, engine: e, out: out, log: log, api: api,
		reloads: make(chan chan error), upgrades: make(chan chan upgraded), stops: make(chan bool), giveUp: giveUp,
		stopping: make(chan struct{}), stopped: make(chan struct{}),
	}
	api.Start(&operator{e, d})
	doors.Commit()
	log.Info("ready", "file", file, "listeners", len(cfg.Listeners), "clusters", len(cfg.Clusters), "loops", loops, "pid", os.Getpid())
	d.manager = meetManager(log, before != nil)
	defer d.manager.leave()
	if before != nil {
		d.manager.say(fmt.Sprintf("MAINPID=%d", os.Getpid()), daemon.SdNotifyReady)
	} else {
		d.manager.say(daemon.SdNotifyReady)
	}
	d.manager.watch(e)

	for {
		// While an upgrade is under way, nothing is changed that the new process has been told already.
		signalled, asked := reloads, d.reloads
		if d.upgrading != nil {
			signalled, asked = nil, nil
		}
		select {
		case <-signalled:
			d.reload()
		case asked := <-asked:
			d.reloadFor(asked)
		case <-reopens:
			d.reopen()
		case <-upgrades:
			if err := d.beginUpgrade(ctx); err != nil {
				log.Warn("upgrade refused", "reason", err)
			}
		case asked := <-d.upgrades:
			d.upgradeFor(ctx, asked)
		case u := <-d.upgrading:
			if d.endUpgrade(u) {
				return d.leave(ctx, u.PID, reloads, stops)
			}
		case sig := <-stops:
			return d.stop(ctx, stops, sig.String(), false)
		case now := <-d.stops:
			return d.stop(ctx, stops, "api", now)
		case <-ctx.Done():
			return d.stop(context.WithoutCancel(ctx), stops, syscall.SIGTERM.String(), false)
		}
	}
}

func notified(room int, signals ...os.Signal) chan os.Signal {
	c := make(chan os.Signal, room)
	signal.Notify(c, signals...)
	return c
}

// daemonState is what signals and the API act on.
type daemonState struct {
	file   string
	path   string // of the program; "" = not known
	engine *engine.Engine
	out    *logOutput
	log    *slog.Logger
	api    *admin.Server

	manager *manager

	// Requests of the API, and how far a stop has come.
	reloads  chan chan error // each gets the outcome
	upgrades chan chan upgraded
	stops    chan bool     // true = at once
	giveUp   func()        // has no reload wait for names any more
	stopping chan struct{} // closed when a stop begins
	stopped  chan struct{} // closed when it is done
	cut      int           // sessions that it has cut; valid once stopped is closed

	// Of the one goroutine that acts on signals and requests.
	upgrading chan upgraded // the outcome of the upgrade under way; nil = there is none
	callOff   func()        // ends it
	askers    []chan upgraded
}

// reload goes over to what the file says now, or says why not and changes nothing.
func (d *daemonState) reload() (err error) {
	began := time.Now()
	over := d.manager.reloading(d.engine)
	defer func() { over(err) }()
	cfg, err := load(d.file, conf.LoadRegular)
	if err == nil {
		err = d.goOver(cfg)
	}
	d.engine.Reloaded(err)
	if err != nil {
		for _, line := range errorLines(err) {
			d.log.Error("reload_failed", "event", "reload_failed", "error", line)
		}
		return err
	}
	for _, w := range cfg.Warnings {
		d.log.Warn(w.String())
	}
	d.log.Info("reload", "event", "reload", "file", d.file, "took_ms", float64(time.Since(began).Microseconds())/1000)
	return nil
}

func (d *daemonState) goOver(cfg loaded) error {
	log, err := d.out.prepare(cfg.Log)
	if err != nil {
		return conf.Errors{cfg.KeyError("log", "file", err)}
	}
	doors, err := openDoors(d.api, cfg)
	if err != nil {
		log.discard()
		return err
	}
	if err := d.engine.Reload(cfg.Config, cfg.monitors); err != nil {
		log.discard()
		doors.Discard()
		return err
	}
	doors.Commit()
	log.commit()
	return nil
}

// openDoors opens the addresses of the API; those that cannot be opened are told of with their place in the file.
func openDoors(api *admin.Server, cfg loaded) (*admin.Change, error) {
	doors, err := api.Prepare(cfg.Admin, cfg.token)
	if err == nil {
		return doors, nil
	}
	var wrong []error
	for _, line := range errorLines(err) {
		wrong = append(wrong, fmt.Errorf("%s: %w", cfg.AdminPosition(), line))
	}
	return nil, errors.Join(wrong...)
}

// reloadFor reloads once for all who have asked by now.
func (d *daemonState) reloadFor(asked chan error) {
	all := []chan error{asked}
	for more := true; more; {
		select {
		case another := <-d.reloads:
			all = append(all, another)
		default:
			more = false
		}
	}
	err := d.reload()
	for _, a := range all {
		a <- err
	}
}

func (d *daemonState) reopen() {
	if err := d.out.reopen(); err != nil {
		d.log.Error("cannot reopen the log file", "error", err)
		return
	}
	d.log.Info("log file reopened")
}

// stop drains, unless it is to be at once. A second signal cuts what is left. An upgrade under way is called off, unless
// it is through.
func (d *daemonState) stop(ctx context.Context, again chan os.Signal, why string, now bool) int {
	if d.upgrading != nil {
		d.callOff()
		if u := <-d.upgrading; d.endUpgrade(u) {
			return d.leave(ctx, u.PID, nil, again)
		}
	}
	close(d.stopping)
	d.manager.say(daemon.SdNotifyStopping, fmt.Sprintf("STATUS=draining, %d sessions", d.engine.Sessions()))
	d.log.Info("stopping", "signal", why, "sessions", d.engine.Sessions())
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if now {
		cancel()
	}
	done := make(chan int, 1)
	go func() { done <- d.engine.Stop(ctx) }()
	for {
		select {
		case <-again:
			cancel()
		case now := <-d.stops:
			if now {
				cancel()
			}
		case cut := <-done:
			return d.gone(cut)
		}
	}
}

// gone is the end.
func (d *daemonState) gone(cut int) int {
	d.cut = cut
	close(d.stopped)
	d.log.Info("stopped", "sessions_cut", cut)
	if cut > 0 {
		return cli.ExitCut
	}
	return cli.ExitOK
}
