package cli

// weir server: overrides, and servers added and removed at run time.

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"weir/internal/status"
)

const serverHelp = `Sets an override on top of the configuration file, or adds or removes a server:

  drain               no new sessions; existing sessions continue, with --deadline
                      at most that long: they are closed gently if close_rate or
                      close_quiet is set, and the rest are reset at the deadline;
                      then, on a terminal, or with --wait, waits for them to end
  maint               out of service, and not checked
  ready               in service, even if the file says drain or maint
  weight N            weight N, from 0 to 256
  max_sessions N      at most N sessions; 0 = no limit
  reset               remove all overrides
  kill-sessions       cut its sessions immediately
  add [ADDRESS] [KEY=VALUE …]   add it to a level (--level); the keys are those of
                      a server in the file; the default address is its name
  remove              remove it; its sessions drain
  restore             take back the removal of a server of the file

Overrides survive reloads as long as the server exists. In a fleet that shares
overrides they hold on all nodes, and servers that are added or removed too. With
--local they are for this node only: overrides until they are reset with --local, and
added or removed servers of a cluster until weir fleet follow CLUSTER.`

// serverChange holds the flags of weir server.
type serverChange struct {
	*clientFlags
	reason, level, deadline string
	local, wait             bool
}

func serverCommand(flags *clientFlags) *cobra.Command {
	change := &serverChange{clientFlags: flags}
	cmd := &cobra.Command{
		Use:   "server CLUSTER/SERVER drain|maint|ready|weight N|max_sessions N|reset|kill-sessions|add|remove|restore",
		Short: "Change a server at run time", Long: serverHelp, Args: cobra.MinimumNArgs(2),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 0 {
				return completeServers(flags)(cmd, args, word)
			}
			if len(args) > 1 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return serverVerbs(), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			cluster, server, err := clusterAndServer(args[0])
			if err != nil {
				return err
			}
			return change.apply(cmd, cluster, server, args[1], args[2:])
		},
	}
	cmd.Flags().StringVar(&change.reason, "reason", "", "the reason, shown in weir status and weir explain")
	cmd.Flags().StringVar(&change.deadline, "deadline", "", "with drain: close its sessions within this `duration`, such as 5m")
	cmd.Flags().StringVar(&change.level, "level", "", "with add: the `level`, by name or number counted from 1 (default the first)")
	waitFlag(cmd, &change.wait, "with drain: wait until it has no sessions (default with --deadline on a terminal)")
	cmd.Flags().BoolVar(&change.local, "local", false, "for this node of a fleet only")
	return cmd
}

// apply sends the request for an action.
func (s *serverChange) apply(cmd *cobra.Command, cluster, server, action string, args []string) error {
	at := path("v1", "clusters", cluster, "servers", server)
	if err := s.checkArguments(cmd, action, args); err != nil {
		return err
	}
	patch := map[string]any{}
	switch action {
	case "drain", "maint", "ready":
		patch["state"] = action
		if s.deadline != "" {
			patch["deadline"] = s.deadline
		}
	case "weight", "max_sessions":
		n, err := strconv.Atoi(args[0])
		if err != nil {
			return fmt.Errorf("%s: want a number, got %q", action, args[0])
		}
		patch[action] = n
	case "reset":
		patch["state"], patch["weight"], patch["max_sessions"] = nil, nil, nil
	case "kill-sessions":
		return request(cmd, s.clientFlags, http.MethodDelete, at+"/sessions", nil, func(w io.Writer, n cutCount) {
			fmt.Fprintf(w, "%d sessions cut\n", n.SessionsCut)
		})
	case "add":
		body, err := s.addBody(server, args)
		if err != nil {
			return err
		}
		return request(cmd, s.clientFlags, http.MethodPost, path("v1", "clusters", cluster, "servers")+s.query(), body, showServer)
	case "restore":
		return request(cmd, s.clientFlags, http.MethodPost, at+"/restore"+s.query(), nil, showServer)
	case "remove":
		err := done(cmd, s.clientFlags, http.MethodDelete, at+s.query(), fmt.Sprintf("%s/%s: removed", cluster, server),
			map[string]any{"cluster": cluster, "name": server, "removed": true})
		if err == nil {
			s.warnOfLast(cmd, cluster, server)
		}
		return err
	}
	if s.local {
		patch["local"] = true
	}
	if s.reason != "" {
		patch["reason"] = s.reason
	}
	err := request(cmd, s.clientFlags, http.MethodPatch, at, patch, showServer)
	if err == nil && (action == "drain" || action == "maint") {
		s.warnOfLast(cmd, cluster, server)
	}
	if err == nil && action == "drain" && (s.wait || s.deadline != "" && waits(cmd, s.wait)) {
		return s.followDrain(cmd, cluster, server)
	}
	return err
}

// warnOfLast prints what the change means for a cluster that it has left without an eligible server, in all its levels or in
// some. Documents have the number of eligible servers, so --json prints nothing.
func (s *serverChange) warnOfLast(cmd *cobra.Command, cluster, server string) {
	if s.json {
		return
	}
	c, err := s.client()
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), requestTimeout)
	defer cancel()
	var doc status.Document
	if _, err := c.do(ctx, http.MethodGet, "/v1/status?max_servers=0", nil, &doc); err != nil {
		return // the change is made
	}
	for i := range doc.Clusters {
		if of := &doc.Clusters[i]; of.Name == cluster {
			for _, line := range lastText(of, server) {
				printText(cmd.OutOrStdout(), line, 2)
			}
		}
	}
}

// lastText returns a line if no server of a cluster is eligible, or one for each level of server that has no eligible one. A
// server that was removed may have been in any level.
func lastText(c *status.Cluster, server string) (lines []string) {
	if c.Level == "" {
		return []string{fmt.Sprintf("warning: it was the last eligible server of cluster %s: no server takes new sessions", c.Name)}
	}
	for _, l := range c.Levels {
		was := func(s status.Server) bool { return s.Name == server }
		if l.Eligible == 0 && (slices.ContainsFunc(l.Servers, was) || slices.Contains(c.Removed, server)) {
			lines = append(lines, fmt.Sprintf("warning: level %s has no eligible server; level %s is in use", l.Name, c.Level))
		}
	}
	return lines
}

// query returns the query of a request that changes servers at run time.
func (s *serverChange) query() string {
	if s.local {
		return "?local=true"
	}
	return ""
}

// serverVerbs returns the actions of weir server.
func serverVerbs() []string {
	return []string{"drain", "maint", "ready", "weight", "max_sessions", "reset", "kill-sessions", "add", "remove", "restore"}
}

// checkArguments returns an error if the action is unknown, or does not take the arguments or flags.
func (s *serverChange) checkArguments(cmd *cobra.Command, action string, args []string) error {
	takes := map[string]int{"weight": 1, "max_sessions": 1}[action]
	switch {
	case !slices.Contains(serverVerbs(), action):
		return unknownAction(action, serverVerbs())
	case action != "add" && len(args) > takes:
		return fmt.Errorf("unexpected argument %q: %s takes %s", args[takes], action, map[int]string{0: "no argument", 1: "one number"}[takes])
	case len(args) < takes:
		return fmt.Errorf("%s: want a number", action)
	case action != "add" && cmd.Flags().Changed("level"):
		return fmt.Errorf("unexpected flag --level: %s changes the server in all its levels; add takes a level", action)
	case action != "drain" && cmd.Flags().Changed("wait"):
		return fmt.Errorf("unexpected flag --wait: %s has nothing to wait for; drain takes it", action)
	case action != "drain" && cmd.Flags().Changed("deadline"):
		return fmt.Errorf("unexpected flag --deadline: %s has no deadline; drain takes one", action)
	case s.local && action == "kill-sessions":
		return fmt.Errorf("unexpected flag --local: %s changes this node only", action)
	case cmd.Flags().Changed("reason") && slices.Contains([]string{"reset", "kill-sessions", "add", "remove", "restore"}, action):
		return fmt.Errorf("unexpected flag --reason: %s takes no reason", action)
	}
	return nil
}

// addBody returns the body of a request to add a server.
func (s *serverChange) addBody(name string, args []string) (map[string]any, error) {
	server := map[string]any{"name": name, "address": name}
	if s.level != "" {
		server["level"] = s.level
	}
	for i, arg := range args {
		key, value, pair := strings.Cut(arg, "=")
		switch n, err := strconv.Atoi(value); {
		case !pair && i == 0:
			server["address"] = arg
		case !pair:
			return nil, fmt.Errorf("want KEY=VALUE after the address, got %q", arg)
		case err == nil && key != "name" && key != "address":
			server[key] = n
		default:
			server[key] = value
		}
	}
	return server, nil
}

// cutCount is the response to requests that cut sessions.
type cutCount struct {
	SessionsCut int `json:"sessions_cut"`
}

func showServer(w io.Writer, x status.Explanation) {
	state := x.State
	if x.Deadline != nil {
		state += " until " + moment(*x.Deadline)
	}
	fmt.Fprintf(w, "%s/%s: %s, weight %d, %d sessions%s\n", x.Cluster, x.Name, state, x.Weight, x.Sessions, sharedText(x.Shared))
}

// sharedText tells what became of an override in the fleet.
func sharedText(shared string) string {
	switch shared {
	case status.SharedWritten:
		return "; written to the fleet"
	case status.SharedPending:
		return "; pending: it reaches other nodes when the store of the fleet can be reached"
	case status.SharedLocal:
		return "; on this node only"
	}
	return ""
}

// clusterAndServer splits CLUSTER/SERVER. The name of the server may contain slashes.
func clusterAndServer(arg string) (cluster, server string, err error) {
	cluster, server, ok := strings.Cut(arg, "/")
	if !ok || cluster == "" || server == "" {
		return "", "", fmt.Errorf("want CLUSTER/SERVER, got %q", arg)
	}
	return cluster, server, nil
}
