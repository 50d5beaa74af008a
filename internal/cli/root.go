package cli

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"weir/conf"
	"weir/internal/status"
)

const aboutWeir = `weir is a layer-4 (TCP and UDP) load balancer.

Signals to a running weir: HUP reloads the configuration, TERM and INT drain and exit
(a second one cuts the remaining sessions), USR1 reopens the log file, USR2 upgrades to
the program on disk.

Exit codes: 0 success; 1 invalid configuration or usage; 2 could not start, or a client
command could not reach weir; 3 sessions were cut.`

// Groups of commands in the help.
const (
	groupService = "service"
	groupClient  = "client"
)

// Program is the part of the program that the daemon's package supplies.
type Program struct {
	Version  string
	Commands []*cobra.Command // the daemon's commands
	// Plan compares two configurations without a running weir.
	Plan func(before, after *conf.Config) status.Plan
}

// NewRoot returns the command weir with all its subcommands.
func NewRoot(p Program) *cobra.Command {
	root := &cobra.Command{
		Use: "weir", Short: "A layer-4 load balancer", Long: aboutWeir, Version: p.Version,
		SilenceUsage: true, SilenceErrors: true,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			fmt.Fprint(cmd.ErrOrStderr(), cmd.UsageString())
			return Exit(ExitUsage)
		},
	}
	root.SetVersionTemplate("weir {{.Version}}\n")
	root.AddGroup(&cobra.Group{ID: groupService, Title: "Daemon commands:"}, &cobra.Group{ID: groupClient, Title: "Commands for a running weir:"})
	root.SetHelpCommandGroupID(groupService)
	root.SetCompletionCommandGroupID(groupService)
	for _, c := range append(p.Commands, convertCommand(), agentCommand(), versionCommand(p.Version)) {
		c.GroupID = groupService
		root.AddCommand(c)
	}
	flags := &clientFlags{}
	root.TraverseChildren = true // client flags may precede the command name
	flags.add(root)
	for _, c := range []*cobra.Command{
		statusCommand(flags), sessionsCommand(flags), eventsCommand(flags), topCommand(flags), explainCommand(flags), serverCommand(flags),
		sessionCommand(flags), failbackCommand(flags), rebalanceCommand(flags), topologyCommand(flags), discoverCommand(flags), fleetCommand(flags), reloadCommand(flags), planCommand(flags, p.Plan), nodeCommand(flags), upgradeCommand(flags), stopCommand(flags),
	} {
		c.GroupID = groupClient
		flags.add(c)
		root.AddCommand(c)
	}
	root.SetHelpCommand(helpCommand())
	nameMistakes(root)
	restrictShells(root)
	return root
}

func versionCommand(version string) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		Run: func(cmd *cobra.Command, _ []string) { fmt.Fprintln(cmd.OutOrStdout(), "weir", version) },
	}
}

// ConfigFlag adds the flag -c, --config to cmd.
func ConfigFlag(cmd *cobra.Command) *string {
	file := cmd.Flags().StringP("config", "c", "", "the configuration `file`")
	cmd.MarkFlagFilename("config", "toml")
	return file
}

// ConfigInput returns the configuration at a path. "-" is standard input, which it reads.
func ConfigInput(cmd *cobra.Command, path string) (conf.Input, error) {
	in := conf.Input{Path: path}
	if path != "-" {
		return in, nil
	}
	var err error
	in.Text, err = io.ReadAll(io.LimitReader(cmd.InOrStdin(), conf.MaxFileSize+1))
	return in, err
}

// UsageError returns the error of a command that lacks an argument or a flag.
func UsageError(cmd *cobra.Command) error { return errors.New("usage: " + cmd.UseLine()) }
