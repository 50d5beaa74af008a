package cli

// Shell completion: names of the running weir.

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"weir/internal/status"
)

// restrictShells leaves the shells that exist on Linux in the completion command, and rejects others.
func restrictShells(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	cmd, _, err := root.Find([]string{"completion"})
	if err != nil {
		return
	}
	for _, c := range cmd.Commands() {
		if c.Name() == "powershell" {
			cmd.RemoveCommand(c)
		}
	}
	cmd.Use, cmd.Args = "completion bash|zsh|fish", cobra.ArbitraryArgs
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return fmt.Errorf("completion: want bash, zsh or fish, got %q", args[0])
		}
		return UsageError(cmd)
	}
}

type completion = func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective)

func completeClusters(flags *clientFlags) completion {
	return first(flags.complete(func(doc *status.Document) []string { return clustersOf(doc) }))
}

func completeServers(flags *clientFlags) completion {
	return first(flags.complete(func(doc *status.Document) []string {
		var names []string
		for i := range doc.Clusters {
			for _, name := range serversOf(&doc.Clusters[i]) {
				names = append(names, doc.Clusters[i].Name+"/"+name)
			}
		}
		return names
	}))
}

func listenersOf(doc *status.Document) []string {
	var names []string
	for _, l := range doc.Listeners {
		names = append(names, l.Name)
	}
	return names
}

func clustersOf(doc *status.Document) []string {
	var names []string
	for i := range doc.Clusters {
		names = append(names, doc.Clusters[i].Name)
	}
	return names
}

// serversOf returns the names of a cluster's servers, each once.
func serversOf(c *status.Cluster) []string {
	var names []string
	seen := map[string]bool{}
	for _, l := range c.Levels {
		for _, s := range l.Servers {
			if !seen[s.Name] {
				seen[s.Name] = true
				names = append(names, s.Name)
			}
		}
	}
	return names
}

// addressesOf returns the addresses of a cluster's servers, and their hosts.
func addressesOf(c *status.Cluster) []string {
	var list []string
	for _, l := range c.Levels {
		for _, s := range l.Servers {
			list = append(list, s.Address)
			if host, _, err := net.SplitHostPort(s.Address); err == nil {
				list = append(list, host)
			}
		}
	}
	return list
}

// completeFilters completes the flags of weir sessions.
func completeFilters(cmd *cobra.Command, flags *clientFlags) {
	for flag, names := range map[string]func(*status.Document) []string{
		"cluster":  clustersOf,
		"listener": listenersOf,
		"server": func(doc *status.Document) []string {
			var names []string
			for i := range doc.Clusters {
				if only := cmd.Flag("cluster").Value.String(); only == "" || only == doc.Clusters[i].Name {
					names = append(names, serversOf(&doc.Clusters[i])...)
				}
			}
			return names
		},
	} {
		cmd.RegisterFlagCompletionFunc(flag, flags.complete(names)) // the flags exist: no error
	}
}

// first completes only the first argument.
func first(c completion) completion {
	return func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return c(cmd, args, word)
	}
}

// complete returns the names of the running weir that begin with a word, or none if weir cannot be reached.
func (flags *clientFlags) complete(names func(*status.Document) []string) completion {
	return func(_ *cobra.Command, _ []string, word string) (list []string, how cobra.ShellCompDirective) {
		how = cobra.ShellCompDirectiveNoFileComp
		c, err := flags.client()
		if err != nil {
			return nil, how
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		doc, err := fetchStatus(ctx, c)
		if err != nil {
			return nil, how
		}
		for _, name := range names(doc) {
			if strings.HasPrefix(name, word) && !slices.Contains(list, name) {
				list = append(list, name)
			}
		}
		return list, how
	}
}
