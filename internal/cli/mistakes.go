package cli

// Errors about commands, actions, arguments and flags: they name what is wrong, and what was probably meant.

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"weir/conf"
)

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

// flagError names the flag that was probably meant, or what its value should be.
func flagError(cmd *cobra.Command, err error) error {
	var invalid *pflag.InvalidValueError
	if errors.As(err, &invalid) {
		kind := map[string]string{"int": "number", "duration": "duration such as 30s", "bool": "value of true or false"}[invalid.GetFlag().Value.Type()]
		if kind == "" {
			return err
		}
		return fmt.Errorf("--%s: want a %s, got %q", invalid.GetFlag().Name, kind, invalid.GetValue())
	}
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

// didYouMean returns the end of a message about an unknown word: `; did you mean "drain"?`, or "".
func didYouMean(word string, names []string) string {
	if near := conf.Nearest(word, names); near != "" {
		return fmt.Sprintf("; did you mean %q?", near)
	}
	return ""
}

// unknownAction returns the error about an action that a command does not have.
func unknownAction(word string, verbs []string) error {
	if near := didYouMean(word, verbs); near != "" {
		return fmt.Errorf("unknown action %q%s", word, near)
	}
	return fmt.Errorf("unknown action %q; want %s", word, strings.Join(verbs, ", "))
}

// helpCommand is that of the library, with an error about a command that does not exist.
func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use: "help [COMMAND]", Short: "Show the help of a command", Args: cobra.ArbitraryArgs,
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			of, _, err := cmd.Root().Find(args)
			if err != nil {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			var names []string
			for _, c := range of.Commands() {
				if c.IsAvailableCommand() {
					names = append(names, c.Name())
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			of, rest, err := cmd.Root().Find(args)
			switch {
			case err != nil:
				return err
			case of == cmd.Root() && len(rest) > 0:
				return unknownCommand(of, rest[0])
			}
			of.InitDefaultHelpFlag() // lists --help
			return of.Help()
		},
	}
}
