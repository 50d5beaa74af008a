package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"weir/admin"
	"weir/conf"
	"weir/internal/cli"
	"weir/internal/engine"
)

func checkCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "check -c FILE", Short: "Validate a configuration", Args: cobra.NoArgs}
	file := cli.ConfigFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *file == "" {
			return cli.UsageError(cmd)
		}
		return cli.Exit(check(*file, cmd.OutOrStdout(), cmd.ErrOrStderr()))
	}
	return cmd
}

// loaded is a configuration with what was read and built to check it.
type loaded struct {
	*conf.Config
	monitors engine.Monitors
	guard    *admin.Guard
}

// load reads a configuration, for a start or a check by conf.Load and for a reload by conf.LoadRegular, and tests the
// files, programs and users that it names. It opens no socket. Errors have positions in the file.
func load(file string, read func(string) (*conf.Config, error)) (l loaded, err error) {
	if l.Config, err = read(file); err != nil {
		return loaded{}, err
	}
	var errs conf.Errors
	l.monitors, errs = engine.Check(l.Config)
	guard, wrong := admin.NewGuard(l.Admin)
	for _, e := range wrong {
		errs = append(errs, l.KeyError("admin", e.Key, e.Err))
	}
	l.guard = guard
	if len(errs) > 0 {
		return loaded{}, l.SortErrors(errs)
	}
	return l, nil
}

// check validates a file exactly as a start would, and returns the exit code.
func check(file string, stdout, stderr io.Writer) int {
	cfg, err := load(file, conf.Load)
	if err != nil {
		fmt.Fprintln(stderr, err)
		return cli.ExitUsage
	}
	for _, w := range cfg.Warnings {
		fmt.Fprintln(stderr, "warning:", w)
	}
	fmt.Fprintf(stdout, "%s: ok\n", file)
	return cli.ExitOK
}
