// Package engine joins the parts of a running weir: it turns a configuration into clusters, checks and listeners, and
// later configurations into changes of them. A change is prepared (which may fail, and shows nothing), committed (which
// cannot fail) and retired (what has left is drained, with a deadline). What did not change keeps its identity:
// sockets, counters, verdicts, sessions.
package engine
