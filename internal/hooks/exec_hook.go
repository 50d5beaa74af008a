package hooks

// Hooks that are programs.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall" // process groups: a program is killed with what it has started
	"time"

	"weir/conf"
	"weir/internal/status"
)

// graceOfPipes is how long the output is waited for once the program itself has ended or been killed: something it
// started may hold it open.
const graceOfPipes = 100 * time.Millisecond

// runExec runs the program for one event and returns when it has ended. again reports that it could not even be
// started, for want of something that may come back.
func runExec(ctx context.Context, spec *conf.Hook, ev *status.Event, body []byte) (err error, again bool) {
	var said firstWords
	cmd := exec.CommandContext(ctx, spec.Exec[0], spec.Exec[1:]...)
	cmd.Env = append(baseEnviron(), environ(ev)...)
	cmd.Stdin = bytes.NewReader(body)
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	kill := func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Cancel = kill
	cmd.WaitDelay = graceOfPipes
	if err := cmd.Start(); err != nil {
		gone := errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, exec.ErrNotFound)
		return err, !gone
	}
	err = cmd.Wait()
	if errors.Is(err, exec.ErrWaitDelay) {
		// Whatever holds the output open is still in the group, so the group is still there to be killed.
		_ = kill()
		err = nil
	}
	switch {
	case err == nil:
		return nil, false
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Errorf("killed after %v%s", spec.Timeout, said.quoted()), false
	case ctx.Err() != nil:
		return ctx.Err(), false
	}
	return fmt.Errorf("%w%s", err, said.quoted()), false
}

// maxVariable bounds a variable; the kernel takes 128 kB (MAX_ARG_STRLEN). The JSON has the whole.
const maxVariable = 64 << 10

// baseEnviron is the environment of this process without what the service manager means for it alone.
func baseEnviron() []string {
	var env []string
	for _, e := range os.Environ() {
		name, _, _ := strings.Cut(e, "=")
		switch name {
		case "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES":
		default:
			env = append(env, e)
		}
	}
	return env
}

// environ tells a program about an event. Every variable is set, so that none comes from elsewhere.
func environ(ev *status.Event) []string {
	env := []string{
		"WEIR_EVENT=" + ev.Event, "WEIR_TIME=" + ev.Time.UTC().Format(time.RFC3339Nano), "WEIR_LISTENER=" + ev.Listener, "WEIR_CLUSTER=" + ev.Cluster, "WEIR_LEVEL=" + ev.Level,
		"WEIR_SERVER=" + ev.Server, "WEIR_FROM=" + ev.From, "WEIR_TO=" + ev.To, "WEIR_LAYER=" + ev.Layer, "WEIR_REASON=" + ev.Reason,
		"WEIR_COUNT=",
	}
	if ev.Count > 0 {
		env[len(env)-1] += strconv.FormatUint(ev.Count, 10)
	}
	for i, e := range env { // a NUL or too long a reason would keep the program from being run
		env[i] = strings.ReplaceAll(e[:min(len(e), maxVariable)], "\x00", "")
	}
	return env
}

// firstWords keeps the beginning of what is written to it and takes the rest without keeping it.
type firstWords struct{ kept []byte }

func (w *firstWords) Write(p []byte) (int, error) {
	w.kept = append(w.kept, p[:min(len(p), 1024-len(w.kept))]...)
	return len(p), nil
}

// quoted is the first line that is not empty, fit for a log.
func (w *firstWords) quoted() string {
	for line := range strings.Lines(string(w.kept)) {
		if s := strings.TrimSpace(line); s != "" {
			return fmt.Sprintf(": %.120q", s)
		}
	}
	return ""
}
