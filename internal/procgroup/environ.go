package procgroup

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
)

// hidden are the names of variables that programs do not get. They are state of the process, like its environment.
var hidden sync.Map

// TakeSecret returns a variable that holds a secret. Programs that are started from now on do not get it, and it is erased
// from the memory that they can read as /proc/PID/environ. It stays in os.Environ, for the new process of an upgrade.
func TakeSecret(name string) (value string, ok bool) {
	_, known := hidden.LoadOrStore(name, true)
	value, ok = os.LookupEnv(name)
	if known || !ok {
		return value, ok
	}
	value = strings.Clone(value) // the memory that is erased holds it
	os.Setenv(name, value)
	eraseVariable(name) // where the kernel forbids it, only programs that look for the variable there find it
	return value, true
}

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

// maxEnvironment is more than the kernel passes to a program.
const maxEnvironment = 64 << 20

// eraseVariable overwrites the values of a variable in the environment that the kernel gave this process. The strings that
// os.LookupEnv returns for it may be in that memory, unless os.Setenv has replaced them.
func eraseVariable(name string) error {
	start, end, err := environmentArea()
	if err != nil {
		return err
	}
	mem, err := os.OpenFile("/proc/self/mem", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer mem.Close()
	area := make([]byte, end-start)
	if _, err := mem.ReadAt(area, start); err != nil {
		return err
	}
	at := 0
	for entry := range bytes.SplitSeq(area, []byte{0}) {
		if value, found := bytes.CutPrefix(entry, []byte(name+"=")); found && len(value) > 0 {
			if _, err := mem.WriteAt(make([]byte, len(value)), start+int64(at+len(name)+1)); err != nil {
				return err
			}
		}
		at += len(entry) + 1
	}
	return nil
}

// environmentArea returns where the environment of this process is: env_start and env_end of proc_pid_stat(5).
func environmentArea() (start, end int64, err error) {
	text, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return 0, 0, err
	}
	after := text[bytes.LastIndexByte(text, ')')+1:] // the name of the program may contain anything
	fields := strings.Fields(string(after))          // the third field of the file is the first here
	const envStart, envEnd = 50 - 3, 51 - 3
	if len(fields) <= envEnd {
		return 0, 0, errors.New("/proc/self/stat: want 52 fields")
	}
	start, err = strconv.ParseInt(fields[envStart], 10, 64)
	if err == nil {
		end, err = strconv.ParseInt(fields[envEnd], 10, 64)
	}
	if err == nil && (start <= 0 || end < start || end-start > maxEnvironment) {
		err = fmt.Errorf("/proc/self/stat: invalid environment from %d to %d", start, end)
	}
	return start, end, err
}
