// Package cli holds the commands that talk to a running weir (status, sessions, events, explain, server, plan, reload,
// upgrade, stop, top), the agent, shell completion, and the root command that they share with the daemon's commands.
package cli
