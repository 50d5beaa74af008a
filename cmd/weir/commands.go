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
	root.TraverseChildren = true // the flags of a client command may come before its name
	reach.flags(root)
	for _, c := range []*cobra.Command{
		statusCommand(reach), sessionsCommand(reach), eventsCommand(reach), topCommand(reach), explainCommand(reach), serverCommand(reach),
		reloadCommand(reach), planCommand(reach), upgradeCommand(reach), stopCommand(reach),
	} {
		c.GroupID = groupClient
		reach.flags(c)
		root.AddCommand(c)
	}
	for _, c := range root.Commands() {
		c.Args = orUsage(c.Args)
	}
	shells(root)
	return root
}

// orUsage has a command with too few arguments, or too many, say how it is used.
func orUsage(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if check(cmd, args) == nil {
			return nil
		}
		for i := len(args) - 1; i >= 0; i-- {
			if check(cmd, args[:i]) == nil { // as many are enough
				return fmt.Errorf("unexpected argument %q; usage: %s", args[i], cmd.UseLine())
			}
		}
		return fmt.Errorf("an argument is missing; usage: %s", cmd.UseLine())
	}
}

// shells keeps the shells that there are on Linux, and refuses others.
func shells(root *cobra.Command) {
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
			return fmt.Errorf("want bash, zsh or fish, got %q", args[0])
		}
		return usage(cmd)
	}
}

func runCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "run -c FILE", Short: "Serve, in the foreground", Args: cobra.NoArgs, GroupID: groupService}
	file := fileFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *file == "" {
			return usage(cmd)
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
			return usage(cmd)
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

// usage is the error of a command that was told too little.
func usage(cmd *cobra.Command) error { return errors.New("usage: " + cmd.UseLine()) }
