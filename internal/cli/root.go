package cli

import (
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

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
	nameMistakes(root)
	restrictShells(root)
	return root
}

// nameMistakes makes the errors of all commands about arguments and flags name what is wrong.
func nameMistakes(cmd *cobra.Command) {
	cmd.SetFlagErrorFunc(flagError)
	for _, c := range cmd.Commands() {
		if c.Args != nil {
			c.Args = withUsage(c.Args)
		}
		nameMistakes(c)
	}
}

// unknownCommand returns the error about a command that does not exist.
func unknownCommand(root *cobra.Command, word string) error {
	var names []string
	for _, c := range root.Commands() {
		names = append(names, c.Name())
	}
	whole := map[string]string{"close": "weir session ID close"} // actions of commands
	for _, verb := range serverVerbs() {
		whole[verb] = "weir server CLUSTER/SERVER " + verb
	}
	near := conf.Nearest(word, names)
	if near == "" {
		near = whole[word]
	}
	if near == "" {
		return fmt.Errorf("unknown command %q; run weir help for a list", word)
	}
	return fmt.Errorf("unknown command %q; did you mean %q? weir help lists all", word, near)
}

// flagError names the flag that was probably meant.
func flagError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) {
		return err
	}
	word := unknown.GetSpecifiedName()
	if shorts := unknown.GetSpecifiedShortnames(); shorts != "" {
		if _, number := strconv.Atoi(shorts); number == nil {
			return fmt.Errorf("unexpected argument \"-%s\": no number may be negative; usage: %s", shorts, cmd.UseLine())
		}
		return fmt.Errorf("unknown flag -%s; usage: %s", word, cmd.UseLine())
	}
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, "--"+f.Name) })
	if near := conf.Nearest("--"+word, names); near != "" {
		return fmt.Errorf("unknown flag --%s; did you mean %s?", word, near)
	}
	return fmt.Errorf("unknown flag --%s; usage: %s", word, cmd.UseLine())
}

// withUsage adds the usage line to the error about too few or too many arguments.
func withUsage(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if check(cmd, args) == nil {
			return nil
		}
		for i := len(args) - 1; i >= 0; i-- {
			if check(cmd, args[:i]) == nil { // the arguments before args[i] are enough
				return fmt.Errorf("unexpected argument %q; usage: %s", args[i], cmd.UseLine())
			}
		}
		return fmt.Errorf("missing argument; usage: %s", cmd.UseLine())
	}
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
