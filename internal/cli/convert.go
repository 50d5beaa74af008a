package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"weir/conf"
	"weir/internal/convert"
)

const convertHelp = `Translates a configuration of HAProxy, or the stream part of one of nginx, and prints a
configuration of weir. "-" is standard input. Lines that have no counterpart stay as
comments with their line number and the reason.

Exit codes: 0 everything was translated; 1 something was not (see the lines with WARNING),
or weir would not accept the result; 2 the input cannot be read.`

func convertCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "convert FILE", Short: "Translate a configuration of HAProxy or nginx", Long: convertHelp, Args: cobra.ExactArgs(1)}
	from := cmd.Flags().String("from", "", "`format` of FILE: haproxy or nginx; found out if not given")
	cmd.RegisterFlagCompletionFunc("from", cobra.FixedCompletions([]string{string(convert.FormatHAProxy), string(convert.FormatNGINX)}, cobra.ShellCompDirectiveNoFileComp))
	cmd.ValidArgsFunction = cobra.FixedCompletions([]string{"cfg", "conf"}, cobra.ShellCompDirectiveFilterFileExt)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		in := convert.Input{Path: args[0]}
		if in.Path == "-" {
			text, err := io.ReadAll(io.LimitReader(cmd.InOrStdin(), conf.MaxFileSize+1))
			if err != nil {
				return ExitError{ExitUnreachable, err}
			}
			in.Text = string(text)
		}
		result, err := convert.Convert(in, convert.Format(*from))
		if err != nil {
			return ExitError{ExitUnreachable, err}
		}
		if _, err := io.WriteString(cmd.OutOrStdout(), result.TOML); err != nil {
			return ExitError{ExitUnreachable, err}
		}
		if _, err := conf.Parse("the result", []byte(result.TOML)); err != nil {
			fmt.Fprintf(cmd.ErrOrStderr(), "weir would not accept the result:\n%v\n", err)
			return Exit(ExitUsage)
		}
		if result.Warnings > 0 {
			fmt.Fprintf(cmd.ErrOrStderr(), "%d lines were not translated: see the lines with WARNING\n", result.Warnings)
			return Exit(ExitUsage)
		}
		return nil
	}
	return cmd
}
