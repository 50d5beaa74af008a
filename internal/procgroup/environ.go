package procgroup

import (
	"os"
	"strings"
	"sync"
)

// hidden are the names of variables that programs do not get. They are state of the process, like its environment.
var hidden sync.Map

// HideVariable keeps a variable from all programs that are started from now on. It holds a secret.
func HideVariable(name string) { hidden.Store(name, true) }

// servicePrefixes begin the names of variables that a service manager sets for this process alone: notifications, watchdog
// and sockets (sd_notify(3), sd_watchdog_enabled(3), sd_listen_fds(3)).
var servicePrefixes = []string{"NOTIFY_SOCKET", "WATCHDOG_", "LISTEN_"}

// environ returns the environment for programs.
func environ() []string {
	var env []string
next:
	for _, entry := range os.Environ() {
		name, _, _ := strings.Cut(entry, "=")
		for _, prefix := range servicePrefixes {
			if strings.HasPrefix(name, prefix) {
				continue next
			}
		}
		if _, secret := hidden.Load(name); !secret {
			env = append(env, entry)
		}
	}
	return env
}
