// Package engine runs a configuration: it turns a conf.Config into clusters, checks and listeners, and a later one into
// changes of them.
//
// A reload (reload.go) merges the overlay of runtime changes, resolves host names, prepares (which may fail and has no
// visible effect), commits (which cannot fail) and retires what has left, whose sessions drain until a deadline. What
// did not change keeps its sockets, counters, verdicts and sessions.
//
// Check results arrive in check_results.go, events of clusters in events.go, requests of operators in override.go,
// runtime_changes.go and sessions.go. status.go and metrics.go read copies. upgrade.go and upgrade_receive.go are the
// old and the new process of an upgrade.
package engine
