package main

// The protocol of the service manager (systemd): readiness, status, watchdog, and sockets that it has opened.

import (
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	sd "github.com/coreos/go-systemd/v22/daemon"

	"weir/conf"
	"weir/internal/engine"
)

// serviceManager sends notifications to the service manager, if there is one.
type serviceManager struct {
	log      *slog.Logger
	watchdog time.Duration // the watchdog timeout; 0 if it is disabled
	done     chan struct{}
	once     sync.Once // closes done
	work     sync.WaitGroup

	mu      sync.Mutex // held during a notification
	problem string     // the error of the last reload, or ""
}

// newServiceManager reads the settings of the service manager from the environment. After an upgrade the new process
// takes over the watchdog of the old one.
func newServiceManager(log *slog.Logger, upgraded bool) *serviceManager {
	m := &serviceManager{log: log, done: make(chan struct{})}
	if upgraded {
		os.Setenv("WATCHDOG_PID", fmt.Sprint(os.Getpid()))
	}
	var err error
	if m.watchdog, err = sd.SdWatchdogEnabled(false); err != nil {
		log.Warn("service manager: watchdog disabled", "error", err)
	}
	if m.watchdog > 0 && m.watchdog < minWatchdog {
		log.Warn("service manager: watchdog timeout too short", "timeout", m.watchdog, "used", minWatchdog)
		m.watchdog = minWatchdog
	}
	return m
}

// minWatchdog is the shortest watchdog timeout that is met: systemd counts in seconds, and an event loop may be busy for some
// milliseconds.
const minWatchdog = 100 * time.Millisecond

// inheritedSockets returns the descriptors of the sockets of the service manager (sd_listen_fds(3)).
func inheritedSockets() (keep []int) {
	const first = 3
	count, _ := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	if os.Getenv("LISTEN_PID") == strconv.Itoa(os.Getpid()) {
		for fd := first; fd < first+count; fd++ {
			keep = append(keep, fd)
		}
	}
	return keep
}

// activatedSockets returns the sockets that the service manager has opened for this process.
func activatedSockets(log *slog.Logger) []*engine.Activated {
	var all []*engine.Activated
	for _, f := range activation.Files(true) {
		name := f.Name()
		a, err := engine.Activate(f)
		if err != nil {
			log.Warn("service manager: cannot use socket", "socket", name, "error", err)
			continue
		}
		all = append(all, a)
	}
	return all
}

// splitAdminSockets separates the sockets of the API, as files by address, from the others.
func splitAdminSockets(all []*engine.Activated, cfg conf.Admin) (files map[string]*os.File, rest []*engine.Activated) {
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

// notify sends assignments to the service manager.
func (m *serviceManager) notify(lines ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.send(lines...)
}

func (m *serviceManager) send(lines ...string) {
	if _, err := sd.SdNotify(false, strings.Join(lines, "\n")); err != nil {
		m.log.Debug("service manager: cannot notify", "error", err)
	}
}

// statusInterval is the maximum age of the status line.
const statusInterval = 10 * time.Second

// watch sends the status line, and the watchdog notification as long as every event loop responds, until close.
func (m *serviceManager) watch(e *engine.Engine) {
	if os.Getenv("NOTIFY_SOCKET") == "" {
		return
	}
	every := statusInterval
	if m.watchdog > 0 {
		every = min(every, m.watchdog/3)
	}
	m.work.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		withheld := false // logged once until the loops respond again
		for {
			if m.watchdog > 0 {
				responds := e.LoopsRespond(m.watchdog / 3)
				if responds {
					m.notify(sd.SdNotifyWatchdog)
				} else if !withheld {
					m.log.Error("event loop does not respond: watchdog notification withheld")
				}
				withheld = !responds
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

// status sends the status line.
func (m *serviceManager) status(e *engine.Engine) {
	m.mu.Lock()
	defer m.mu.Unlock()
	what := "serving"
	switch {
	case !e.Ready():
		what = "draining"
	case e.Drained():
		what = "serving, node drained"
	}
	line := fmt.Sprintf("STATUS=%s, %d sessions", what, e.Sessions())
	if m.problem != "" {
		line += "; last reload failed: " + m.problem
	}
	m.send(line)
}

// reloading notifies that a reload has begun. The function that it returns notifies the result.
func (m *serviceManager) reloading(e *engine.Engine) (finished func(err error)) {
	m.notify(sd.SdNotifyReloading, fmt.Sprintf("MONOTONIC_USEC=%d", e.Monotonic().Microseconds()))
	return func(err error) {
		m.mu.Lock()
		m.problem = ""
		if err != nil {
			m.problem = strings.Join(strings.Fields(errorLines(err)[0].Error()), " ")
		}
		m.send(sd.SdNotifyReady) // after a failed reload, too: weir continues as before
		m.mu.Unlock()
		m.status(e)
	}
}

// close ends watch. It may be called more than once.
func (m *serviceManager) close() {
	m.once.Do(func() { close(m.done) })
	m.work.Wait()
}
