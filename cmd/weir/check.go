package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"weir/admin"
	"weir/conf"
	"weir/internal/cli"
	"weir/internal/direntry"
	"weir/internal/engine"
)

const checkHelp = `Validates a configuration as a start would: prints every error with its position, or
"FILE: ok". Opens no socket. The file may also be given without -c; "-" is standard input.

With --as, the file is checked as if it stood at another path: includes are relative to
that path. With --syntax, nothing is checked that only the host has on which weir will
run: passwords, certificates, users, programs, the files of providers and the log file.`

func checkCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "check -c FILE", Short: "Validate a configuration", Long: checkHelp, Args: cobra.MaximumNArgs(1)}
	file := cli.ConfigFlag(cmd)
	as := cmd.Flags().String("as", "", "check the file as if it stood at this `path`")
	syntax := cmd.Flags().Bool("syntax", false, "check only what does not depend on this host")
	cmd.MarkFlagFilename("as", "toml")
	cmd.ValidArgsFunction = cobra.FixedCompletions([]string{"toml"}, cobra.ShellCompDirectiveFilterFileExt)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		switch {
		case *file == "" && len(args) == 0:
			return cli.UsageError(cmd)
		case *file != "" && len(args) > 0:
			return fmt.Errorf("unexpected argument %q; %w", args[0], cli.UsageError(cmd))
		}
		in, err := cli.ConfigInput(cmd, *file+strings.Join(args, ""))
		if err != nil {
			return err
		}
		in.As = *as
		return cli.Exit(check(cmd.Context(), in, *syntax, cmd.OutOrStdout(), cmd.ErrOrStderr()))
	}
	return cmd
}

// loaded is a configuration with what was read and built to check it.
type loaded struct {
	*conf.Config
	files    *conf.Files
	monitors engine.Monitors
	guard    *admin.Guard
}

// load reads a configuration and tests the files, programs and users that it names; more tests more of the host. It waits
// for files that are being written, until ctx is done. It opens no socket. Errors have positions in the file.
func load(ctx context.Context, in conf.Input, more ...func(*conf.Config) conf.Errors) (l loaded, err error) {
	l.Config, l.files, err = conf.LoadSettled(ctx, in, func(cfg *conf.Config) error {
		errs := l.readHost(cfg)
		for _, test := range more {
			errs = append(errs, test(cfg)...)
		}
		if len(errs) > 0 {
			return cfg.SortErrors(errs)
		}
		return nil
	})
	return l, err
}

// readHost reads and tests what a configuration needs of this host.
func (l *loaded) readHost(cfg *conf.Config) (errs conf.Errors) {
	l.monitors, errs = engine.Check(cfg)
	guard, wrong := admin.NewGuard(cfg.Admin)
	for _, e := range wrong {
		errs = append(errs, cfg.KeyError("admin", e.Key, e.Err))
	}
	l.guard = guard
	return errs
}

// checkLog tests the log file that a start opens.
func checkLog(cfg *conf.Config) conf.Errors {
	if err := checkLogFile(cfg.Log.File); err != nil {
		return conf.Errors{cfg.KeyError("log", "file", err)}
	}
	return nil
}

// checkSocketDirectories tests the directories of the unix sockets that a start listens at.
func checkSocketDirectories(cfg *conf.Config) (errs conf.Errors) {
	for _, l := range cfg.Listeners {
		for _, a := range l.Addresses {
			if a.Path == "" {
				continue
			}
			err := checkNewFile(a.Path)
			if err == nil {
				err = direntry.CheckLinks(filepath.Dir(a.Path))
			}
			if err != nil {
				errs = append(errs, cfg.KeyError("listener "+l.Name, "address", fmt.Errorf("listen on %s: %w", a, err)))
			}
		}
	}
	return errs
}

// check validates a configuration exactly as a start would, or with syntax only what does not depend on this host, and
// returns the exit code.
func check(ctx context.Context, in conf.Input, syntax bool, stdout, stderr io.Writer) int {
	var cfg loaded
	var err error
	if syntax {
		cfg.Config, _, err = conf.LoadSettled(ctx, in, nil)
	} else {
		cfg, err = load(ctx, in, checkLog, checkSocketDirectories)
	}
	if err != nil {
		fmt.Fprintln(stderr, err)
		return cli.ExitUsage
	}
	warnings := cfg.Warnings
	if !syntax {
		warnings = append(warnings, engine.ProviderWarnings(ctx, cfg.Config)...)
		warnings = append(warnings, engine.PromotionWarnings(cfg.Config)...)
	}
	for _, w := range warnings {
		fmt.Fprintln(stderr, "warning:", w)
	}
	for _, n := range cfg.Notes {
		fmt.Fprintln(stderr, "note:", n)
	}
	fmt.Fprintf(stdout, "%s: ok\n", in.Path)
	return cli.ExitOK
}
