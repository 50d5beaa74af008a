package hooks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"weir/conf"
	"weir/internal/printable"
	"weir/internal/procgroup"
	"weir/internal/status"
)

// runExec runs the program for one event and returns when it has ended. retry reports that the program could not be
// started for a reason that may pass.
func runExec(ctx context.Context, spec *conf.Hook, ev *status.Event, body []byte) (err error, retry bool) {
	cmd := procgroup.New(ctx, 0, spec.Exec[0], spec.Exec[1:]...)
	cmd.Env = append(cmd.Env, environ(ev)...)
	cmd.Stdin = bytes.NewReader(body)
	if err := cmd.Start(); err != nil {
		missing := errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, exec.ErrNotFound)
		return err, !missing
	}
	err = cmd.Wait()
	detail := ""
	if line := cmd.FirstLine(); line != "" {
		detail = fmt.Sprintf(": %q", printable.Clip(line, printable.MaxQuote))
	}
	switch {
	case err == nil:
		return nil, false
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Errorf("killed after %v%s", spec.Timeout, detail), false
	case ctx.Err() != nil:
		return ctx.Err(), false
	}
	return fmt.Errorf("%w%s", err, detail), false
}

// maxVariable limits an environment variable; the kernel allows 128 kB (MAX_ARG_STRLEN). The JSON is complete.
const maxVariable = 64 << 10

// number formats n, or returns "" if it is not set.
func number(set bool, n uint64) string {
	if !set {
		return ""
	}
	return strconv.FormatUint(n, 10)
}

// optional formats *p, or returns "" if p is nil.
func optional[T any](p *T) string {
	if p == nil {
		return ""
	}
	return fmt.Sprint(*p)
}

// environ returns the variables of an event. Every variable is set, so none is inherited.
func environ(ev *status.Event) []string {
	env := []string{
		"WEIR_EVENT=" + ev.Event, "WEIR_TIME=" + ev.Time.UTC().Format(time.RFC3339Nano), "WEIR_LISTENER=" + ev.Listener, "WEIR_ADDRESS=" + ev.Address, "WEIR_CLUSTER=" + ev.Cluster, "WEIR_LEVEL=" + ev.Level,
		"WEIR_SERVER=" + ev.Server, "WEIR_FROM=" + ev.From, "WEIR_TO=" + ev.To, "WEIR_LAYER=" + ev.Layer, "WEIR_REASON=" + ev.Reason,
		"WEIR_SOURCE=" + ev.Source, "WEIR_GTID=" + ev.GTID,
		"WEIR_COUNT=" + number(ev.Count > 0, ev.Count), "WEIR_EPOCH=" + number(ev.Epoch > 0, ev.Epoch), "WEIR_DETECTED_MS=" + optional(ev.DetectedMS),
		"WEIR_CLOSED=" + optional(ev.Closed), "WEIR_HELD=" + optional(ev.Held), "WEIR_RELEASED=" + optional(ev.Released),
		"WEIR_FIRST_SESSION_MS=" + optional(ev.FirstSessionMS),
	}
	for i, e := range env { // the program could not start with a NUL or a variable that is too long
		env[i] = strings.ReplaceAll(e[:min(len(e), maxVariable)], "\x00", "")
	}
	return env
}
