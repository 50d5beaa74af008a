package main

// The commands. Those of the service come first; those of a client find the running weir by --admin.

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
)

const about = `weir is a layer-4 stream balancer.

Signals to a running weir: HUP reloads, TERM and INT drain and exit (a second one
exits at once), USR1 reopens the log file, USR2 hands over to the program that is
on disk now.

Exit codes: 0 done, 1 bad configuration or usage, 2 could not start or, of a
client command, weir was not reached, 3 sessions were cut.`

// groups of commands in the help.
const (
	groupService = "service"
	groupClient  = "client"
)

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use: "weir", Short: "A layer-4 stream balancer", Long: about, Version: version(),
		SilenceUsage: true, SilenceErrors: true,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("unknown command %q; weir help lists them", args[0])
			}
			fmt.Fprint(cmd.ErrOrStderr(), cmd.UsageString())
			return ended{code: exitUsage}
		},
	}
	root.SetVersionTemplate("weir {{.Version}}\n")
	root.AddGroup(&cobra.Group{ID: groupService, Title: "The service:"}, &cobra.Group{ID: groupClient, Title: "About a running weir:"})
	root.SetHelpCommandGroupID(groupService)
	root.SetCompletionCommandGroupID(groupService)
	root.AddCommand(runCommand(), checkCommand(), agentCommand(), versionCommand())
	reach := &reach{}
	for _, c := range []*cobra.Command{
		statusCommand(reach), sessionsCommand(reach), eventsCommand(reach), topCommand(reach), explainCommand(reach), serverCommand(reach),
		reloadCommand(reach), planCommand(reach), upgradeCommand(reach), stopCommand(reach),
	} {
		c.GroupID = groupClient
		reach.flags(c)
		root.AddCommand(c)
	}
	return root
}

func runCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "run -c FILE", Short: "Serve, in the foreground", Args: cobra.NoArgs, GroupID: groupService}
	file := fileFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *file == "" {
			return errNoFile(cmd)
		}
		return exits(serve(cmd.Context(), *file, cmd.ErrOrStderr()))
	}
	return cmd
}

func checkCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "check -c FILE", Short: "Validate a configuration", Args: cobra.NoArgs, GroupID: groupService}
	file := fileFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *file == "" {
			return errNoFile(cmd)
		}
		return exits(check(*file, cmd.OutOrStdout(), cmd.ErrOrStderr()))
	}
	return cmd
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs, GroupID: groupService,
		Run: func(cmd *cobra.Command, _ []string) { fmt.Fprintln(cmd.OutOrStdout(), "weir", version()) },
	}
}

func fileFlag(cmd *cobra.Command) *string {
	file := cmd.Flags().StringP("config", "c", "", "the configuration `file`")
	cmd.MarkFlagFilename("config", "toml")
	return file
}

func errNoFile(cmd *cobra.Command) error { return errors.New("usage: " + cmd.UseLine()) }
