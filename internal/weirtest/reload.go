package weirtest

import (
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
)

// WriteConfig replaces the configuration file atomically, as an editor does. The file is old: weir does not wait for it as
// for one that may be half written.
func (w *Weir) WriteConfig(config string) {
	w.T.Helper()
	if !strings.Contains(config, "[admin]") { // the default socket is for one weir at a time
		config += "\n[admin]\nlisten = \"\"\n"
	}
	require.NoError(w.T, os.WriteFile(w.File+".new", []byte(config), 0o644))
	past := time.Now().Add(-time.Second)
	require.NoError(w.T, os.Chtimes(w.File+".new", past, past))
	require.NoError(w.T, os.Rename(w.File+".new", w.File))
}

// Reload replaces the configuration and waits until it is in force.
func (w *Weir) Reload(config string) {
	w.T.Helper()
	w.WriteConfig(config)
	w.SignalReload("reload")
}

// FailReload replaces the configuration with one that must be rejected, and returns the record with the cause.
func (w *Weir) FailReload(config string) Record {
	w.T.Helper()
	w.WriteConfig(config)
	return w.SignalReload("reload_failed")
}

// SignalReload sends SIGHUP and waits for the outcome.
func (w *Weir) SignalReload(outcome string) Record {
	w.T.Helper()
	over := func(r Record) bool { return r.IsEvent("reload") || r.IsEvent("reload_failed") }
	before := len(w.Records(over))
	w.Signal(syscall.SIGHUP)
	var r Record
	nettest.Wait(w.T, patience, "the reload's outcome", func() bool {
		all := w.Records(over)
		if len(all) > before {
			r = all[before]
		}
		return r != nil
	})
	require.True(w.T, r.IsEvent(outcome), "want %s, got %v", outcome, r)
	return r
}
