package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"

	"weir/admin"
	"weir/conf"
	"weir/internal/cli"
	"weir/internal/engine"
)

// spareProcs is the number of Ps above the number of event loops, so that checks, reloads and the garbage collector always
// find one.
const spareProcs = 2

// daemon is the process around the engine: its log, its API, and the requests that signals and the API make.
type daemon struct {
	file    string
	program string // path of the running binary; "" if unknown
	engine  *engine.Engine
	out     *logOutput
	log     *slog.Logger
	api     *admin.Server
	manager *serviceManager
	signals *signals

	supervisor *supervisor // nil if this process may end after an upgrade
	announcer  *os.File    // to the process that stayed after an upgrade; nil if there is none

	// Requests of the API. Each reload and upgrade request has a channel for its result.
	reloads  chan chan error
	shareds  chan sharedRequest
	upgrades chan chan upgradeResult
	stops    chan bool     // true to cut sessions immediately
	stopping chan struct{} // closed when a stop begins
	stopped  chan struct{} // closed when it is complete
	cut      int           // sessions cut; valid when stopped is closed

	started chan struct{}                // closed when engine is set
	shared  atomic.Pointer[sharedConfig] // nil = this node shares none

	// Owned by the goroutine that runs handleRequests.
	upgrading      chan upgradeResult // the result of the current upgrade; nil if there is none
	cancelUpgrade  func()
	upgradeWaiters []chan upgradeResult
	loading        *reload          // nil if no reload is in progress
	reloadNext     []chan error     // requests for a reload after it; nil = none
	loaded         *conf.Files      // of the configuration in force
	staleCheck     <-chan time.Time // when they are compared with the files on disk
}

func runCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "run -c FILE", Short: "Run the daemon in the foreground", Args: cobra.NoArgs}
	file := cli.ConfigFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *file == "" {
			return cli.UsageError(cmd)
		}
		return cli.Exit(runDaemon(cmd.Context(), *file, cmd.ErrOrStderr()))
	}
	return cmd
}

// runDaemon serves a configuration until a signal or a request stops it, and returns the exit code.
func runDaemon(ctx context.Context, file string, stderr io.Writer) int {
	sig := receiveSignals(ctx) // first: until then, SIGHUP ends the process
	defer sig.close()
	program, err := programPath()
	if err != nil {
		fmt.Fprintln(stderr, "weir: cannot determine path of the running binary, upgrades are disabled:", err)
	}
	announcer := announcer()
	old, err := acceptUpgrade()
	if err != nil {
		fmt.Fprintln(stderr, "weir:", err)
		return cli.ExitUnreachable
	}
	if err := engine.Harden(inheritedSockets()...); err != nil {
		fmt.Fprintln(stderr, "weir: cannot give up privileges:", err)
	}
	fail := func(code int, err error) int {
		if old != nil {
			old.Fail(err)
		}
		return code
	}
	cfg, unusable, err := loadFirst(sig.stopRequested, file, old)
	switch {
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(stderr, "weir: stopped before the configuration was read")
		return fail(cli.ExitOK, err)
	case err != nil:
		fmt.Fprintln(stderr, err)
		return fail(cli.ExitUsage, err)
	}
	out, err := openLog(cfg.Log, stderr)
	if err != nil {
		err = conf.Errors{cfg.KeyError("log", "file", err)}
		fmt.Fprintln(stderr, err)
		return fail(cli.ExitUnreachable, err)
	}
	defer out.close()
	log := out.logger()
	loops := cmp.Or(cfg.Runtime.Loops, usableCPUs())
	runtime.GOMAXPROCS(max(runtime.GOMAXPROCS(0), loops+spareProcs))
	if unusable != nil {
		log.Error("shared configuration not used: the file of this node is in force", "error", oneLine(unusable))
	}
	for _, w := range cfg.Warnings {
		log.Warn("configuration warning", "warning", w.String())
	}
	d := &daemon{
		file: file, program: program, out: out, log: log, api: admin.New(log, admin.UnixSockets{Listen: engine.ListenUnix, Change: engine.ChangeUnixFile}), signals: sig,
		reloads: make(chan chan error), shareds: make(chan sharedRequest), upgrades: make(chan chan upgradeResult), stops: make(chan bool),
		stopping: make(chan struct{}), stopped: make(chan struct{}), started: make(chan struct{}),
	}
	if d.announcer = announcer; announcer == nil {
		d.supervisor = newSupervisor(log)
		defer d.supervisor.close()
	}
	defer d.api.Close()
	if err := d.start(cfg, old, loops); err != nil {
		for _, line := range errorLines(err) {
			log.Error("cannot start", "error", line)
		}
		return fail(cli.ExitUnreachable, err)
	}
	log.Info("ready", "file", file, "listeners", len(cfg.Listeners), "clusters", len(cfg.Clusters), "loops", loops, "pid", os.Getpid())
	announce(announcer, os.Getpid())
	d.manager = newServiceManager(log, old != nil)
	defer d.manager.close()
	if old != nil && announcer == nil {
		d.manager.notify(fmt.Sprintf("MAINPID=%d", os.Getpid()), sd.SdNotifyReady)
	} else {
		d.manager.notify(sd.SdNotifyReady)
	}
	d.manager.watch(d.engine)
	d.checkStaleLater(cfg.files)
	return d.handleRequests(ctx)
}

// start opens the API and starts the engine, with the sockets of the service manager or everything that the old process
// hands over.
func (d *daemon) start(cfg loaded, old *engine.OldProcess, loops int) error {
	adminSockets, sockets := splitAdminSockets(activatedSockets(d.log), cfg.Admin)
	d.api.Inherit(func(address string) *os.File {
		if old != nil {
			return old.AdminSocket(address)
		}
		return adminSockets[address]
	})
	api, err := prepareAPI(d.api, cfg)
	if err != nil {
		return err
	}
	d.engine, err = engine.Start(cfg.Config, engine.Options{
		Monitors: cfg.monitors, Log: d.log, Sessions: d.out.enqueue, Version: version(), Loops: loops, Chown: func(uid, gid int) error {
			return errors.Join(d.out.chown(uid, gid), api.Chown(uid, gid))
		}, Activated: sockets, RollOuts: d.rollOuts, OldProcess: old, SkipLookups: d.signals.stopRequested,
	})
	if err == nil {
		close(d.started)
	}
	if err == nil && old != nil {
		err = d.engine.TakeOver()
	}
	if err != nil {
		api.Discard()
		return err
	}
	d.api.Start(&operator{d.engine, d})
	api.Commit()
	return nil
}
