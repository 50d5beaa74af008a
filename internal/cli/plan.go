package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"

	"github.com/spf13/cobra"

	"weir/conf"
	"weir/internal/status"
)

const planHelp = `Prints what a reload would add, change and remove, and how many current sessions it
would cut at the drain deadline. Changes nothing.

Without -c, plans a reload of the file that the running weir uses. With --from,
compares two files without a running weir. The exit code is 1 if the reload would
be refused.`

func planCommand(flags *clientFlags, diff func(before, after *conf.Config) status.Plan) *cobra.Command {
	cmd := &cobra.Command{Use: "plan [-c FILE] [--from FILE]", Short: "Show what a reload would do", Long: planHelp, Args: cobra.NoArgs}
	file := ConfigFlag(cmd)
	from := cmd.Flags().String("from", "", "compare with this `file` instead of the running configuration")
	cmd.MarkFlagFilename("from", "toml")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *from != "" {
			return planOffline(cmd, flags, diff, *from, *file)
		}
		var body any
		at := "/v1/plan"
		if *file != "" {
			_, files, err := loadConfig(cmd, *file) // loaded here, so that errors have a position in this file
			if err != nil {
				return configError(cmd, err)
			}
			body = conf.PlanRequest{Text: string(files.Main), Included: append([]conf.SourceFile{}, files.Included...)}
			whole, err := filepath.Abs(*file)
			if err != nil {
				return err
			}
			at += "?" + url.Values{"file": {whole}}.Encode()
			flags.contentType = conf.PlanRequestType
		}
		p, err := requestWithin(requestTimeout, cmd, flags, http.MethodPost, at, body, showPlan)
		if err == nil && p.Refused {
			return Exit(ExitUsage)
		}
		return err
	}
	return cmd
}

func planOffline(cmd *cobra.Command, flags *clientFlags, diff func(before, after *conf.Config) status.Plan, from, to string) error {
	if to == "" {
		return errors.New("--from needs -c FILE, the configuration to compare with")
	}
	before, _, err := loadConfig(cmd, from)
	if err != nil {
		return configError(cmd, err)
	}
	after, _, err := loadConfig(cmd, to)
	if err != nil {
		return configError(cmd, err)
	}
	p := diff(before, after)
	if flags.json {
		text, err := json.Marshal(p)
		if err != nil {
			return err
		}
		if err := indent(cmd.OutOrStdout(), text); err != nil {
			return err
		}
	} else {
		showPlan(cmd.OutOrStdout(), p)
	}
	if p.Refused {
		return Exit(ExitUsage)
	}
	return nil
}

// loadConfig loads a configuration as a start does. path "-" is standard input.
func loadConfig(cmd *cobra.Command, path string) (*conf.Config, *conf.Files, error) {
	in, err := ConfigInput(cmd, path)
	if err != nil {
		return nil, nil, err
	}
	return conf.LoadSettled(cmd.Context(), in, nil)
}

// configError prints the errors of a configuration as weir check does.
func configError(cmd *cobra.Command, err error) error {
	fmt.Fprintln(cmd.ErrOrStderr(), err)
	return Exit(ExitUsage)
}

func showPlan(w io.Writer, p status.Plan) {
	if len(p.Steps) == 0 {
		fmt.Fprintln(w, "no changes")
	}
	for _, s := range p.Steps {
		fmt.Fprint(w, s.Text)
		if s.Cuts > 0 {
			fmt.Fprintf(w, " (%d sessions would drain)", s.Cuts)
		}
		fmt.Fprintln(w)
	}
	if p.Refused {
		fmt.Fprintln(w, "reload would be refused: weir must be restarted for these changes")
	}
}
