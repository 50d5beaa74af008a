package conf

import (
	"fmt"
	"strings"
	"time"

	"weir/conf/internal/tree"
)

// The [runtime] and [log] tables.

func runtimeKeys() []key[Runtime] {
	return []key[Runtime]{
		scalar("loops", integerType(0, 1024), "0", func(r *Runtime) *int { return &r.Loops },
			"Number of event loops; 0 = one per CPU that the process may use: CPUs of its affinity mask, at most the cgroup's CPU quota, "+
				"rounded up. Cannot change while weir runs.").
			fixedBecause("the event loops are fixed for the life of the process; upgrade or restart it").withAliases("nbthread", "worker_processes", "threads"),
		scalar("max_sessions", integerType(0, maxInt), "0", func(r *Runtime) *int { return &r.MaxSessions },
			"Maximum number of sessions in the process; 0 = as many as the descriptor limit allows.").withAliases("maxconn", "worker_connections", "max_connections"),
		scalar("drain_timeout", durationOrZero(), "30s", func(r *Runtime) *time.Duration { return &r.DrainTimeout },
			"How long sessions may continue after a stop, or after a reload that removes their listener or server; then they are "+
				"cut. 0 = cut immediately.").withAliases("hard_stop_after", "shutdown_timeout"),
		scalar("stop_delay", durationOrZero(), "0s", func(r *Runtime) *time.Duration { return &r.StopDelay },
			"How long listeners accept clients after TERM, INT or `weir stop`, while `/readyz` already answers 503, so that load "+
				"balancers in front of weir stop using it. `drain_timeout` begins afterwards. A second signal or `weir stop --now` ends "+
				"the delay. 0 = none.").withAliases("pre_stop_delay", "shutdown_delay", "shutdown_grace_period"),
		scalar("user", userType(), "", func(r *Runtime) *string { return &r.User },
			"User to run as once all addresses are bound: a name or number, `\"weir\"`, or with a group, `\"weir:proxy\"`. Empty = "+
				"the user that starts weir. Cannot change while weir runs.").
			withDefaultText("`\"\"`").fixedBecause("the user is fixed for the life of the process; restart it"),
		promoteInterfacesKey(),
		scalar("state_file", pathType(), "", func(r *Runtime) *string { return &r.StateFile },
			"File that keeps overrides, advice, verdicts and runtime changes across restarts; empty = none. A relative path is "+
				"relative to the working directory of the process.").withDefaultText("`\"\"`").withAliases("server_state_file", "journal"),
	}
}

// userType is a user, with or without a group, or empty.
func userType() valueType[string] {
	return orEmpty(textType("user", func(s string) error {
		name, group, grouped := strings.Cut(s, ":")
		bad := func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune(":/\"'`\\", r) }
		if name == "" || grouped && group == "" || strings.ContainsFunc(name+group, bad) {
			return fmt.Errorf("want a user's name or number, optionally with a group as in \"weir:weir\", got %s", tree.Quote(s))
		}
		return nil
	}))
}

func logKeys() []key[Log] {
	return []key[Log]{
		scalar("level", oneOf([]string{"debug", "info", "warn", "error"}, map[string]string{"warning": "warn", "err": "error", "notice": "info"}),
			"info", func(l *Log) *string { return &l.Level }, "The lowest severity that is logged."),
		scalar("format", oneOf([]string{"text", "json"}, nil), "text", func(l *Log) *string { return &l.Format },
			"One line of `key=value` pairs or one JSON object per message."),
		scalar("file", pathType(), "", func(l *Log) *string { return &l.File },
			"File to append to; empty = standard error. A relative path is relative to the working directory of the process.").withDefaultText("`\"\"`"),
		scalar("sessions", oneOf([]string{"off", "errors", "all"}, nil), "errors", func(l *Log) *string { return &l.Sessions },
			"Which ended sessions are logged, whatever `level` is: none, those that ended with an error, or all. Clients that reset the connection before a server is picked for them, as port checks do, are no errors. "+
				"With `errors`, the records of one reason above 100 per second are summarised in one line."),
	}
}
