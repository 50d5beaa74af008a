package main

// The service manager: what it is told, what it wants to be told, and the sockets that it has opened.

import (
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"

	"weir/conf"
	"weir/internal/engine"
)

// manager is the service manager, if there is one.
type manager struct {
	log   *slog.Logger
	alive time.Duration // how often it wants to hear that weir is well; 0 = never
	done  chan struct{}
	once  sync.Once // closes done
	work  sync.WaitGroup

	mu      sync.Mutex // held while something is said
	problem string     // of the last reload; "" = none
}

// meetManager finds out what the service manager wants. A process that another one has handed over to is watched in that
// one's place.
func meetManager(log *slog.Logger, successor bool) *manager {
	m := &manager{log: log, done: make(chan struct{})}
	if successor {
		os.Setenv("WATCHDOG_PID", fmt.Sprint(os.Getpid()))
	}
	var err error
	if m.alive, err = daemon.SdWatchdogEnabled(false); err != nil {
		log.Warn("service manager", "error", err)
	}
	return m
}

// activated are the sockets that the service manager has opened for this process.
func activated(log *slog.Logger) []*engine.Activated {
	var all []*engine.Activated
	for _, f := range activation.Files(true) {
		name := f.Name()
		a, err := engine.Activate(f)
		if err != nil {
			log.Warn("a socket of the service manager cannot be used", "socket", name, "error", err)
			continue
		}
		all = append(all, a)
	}
	return all
}

// forAPI splits off the sockets at addresses of the API, as files by address.
func forAPI(all []*engine.Activated, cfg conf.Admin) (files map[string]*os.File, rest []*engine.Activated) {
	files = map[string]*os.File{}
	for _, a := range all {
		if name := a.At.String(); a.Protocol == "tcp" && files[name] == nil && slices.Contains(cfg.Listen, a.At) {
			files[name] = a.File()
		} else {
			rest = append(rest, a)
		}
	}
	return files, rest
}

// say tells the service manager something, one assignment in each line.
func (m *manager) say(lines ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.put(lines...)
}

func (m *manager) put(lines ...string) {
	if _, err := daemon.SdNotify(false, strings.Join(lines, "\n")); err != nil {
		m.log.Debug("service manager", "error", err)
	}
}

// statusEvery is how old what the service manager shows may be.
const statusEvery = 10 * time.Second

// watch tells the service manager how weir is, until leave: that it is alive, for as long as every event loop goes round,
// and in a line what it does.
func (m *manager) watch(e *engine.Engine) {
	if os.Getenv("NOTIFY_SOCKET") == "" {
		return
	}
	every := statusEvery
	if m.alive > 0 {
		every = min(every, m.alive/3)
	}
	m.work.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			if m.alive > 0 {
				if e.LoopsRespond(m.alive / 3) {
					m.say(daemon.SdNotifyWatchdog)
				} else {
					m.log.Error("an event loop does not answer: the service manager is not told that weir is alive")
				}
			}
			m.status(e)
			select {
			case <-m.done:
				return
			case <-tick.C:
			}
		}
	})
}

// status says in a line what weir does.
func (m *manager) status(e *engine.Engine) {
	m.mu.Lock()
	defer m.mu.Unlock()
	what := "serving"
	if !e.Ready() {
		what = "draining"
	}
	line := fmt.Sprintf("STATUS=%s, %d sessions", what, e.Sessions())
	if m.problem != "" {
		line += "; the last reload was refused: " + m.problem
	}
	m.put(line)
}

// reloading tells that a reload is under way; what is returned tells its outcome.
func (m *manager) reloading(e *engine.Engine) (over func(err error)) {
	m.say(daemon.SdNotifyReloading, fmt.Sprintf("MONOTONIC_USEC=%d", e.Monotonic().Microseconds()))
	return func(err error) {
		m.mu.Lock()
		m.problem = ""
		if err != nil {
			m.problem = strings.Join(strings.Fields(errorLines(err)[0].Error()), " ")
		}
		m.put(daemon.SdNotifyReady) // of a refused reload, too: weir goes on as before
		m.mu.Unlock()
		m.status(e)
	}
}

// leave ends watch. Calling it again is harmless.
func (m *manager) leave() {
	m.once.Do(func() { close(m.done) })
	m.work.Wait()
}
