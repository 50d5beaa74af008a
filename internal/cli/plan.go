package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"weir/conf"
	"weir/internal/status"
)

const planHelp = `Prints what a reload would add, change and remove, and how many of the sessions of
now it would leave to be cut at the drain deadline. Nothing is changed.

Without -c the file is the one that the running weir was started with. With --from
two files are compared, and no weir is needed. The exit code is 1 if the reload
would be refused.`

func planCommand(flags *clientFlags, diff func(before, after *conf.Config) status.Plan) *cobra.Command {
	cmd := &cobra.Command{Use: "plan [-c FILE] [--from FILE]", Short: "Show what a reload would do", Long: planHelp, Args: cobra.NoArgs}
	file := ConfigFlag(cmd)
	from := cmd.Flags().String("from", "", "compare with this `file` instead of the running weir")
	cmd.MarkFlagFilename("from", "toml")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *from != "" {
			return planOffline(cmd, flags, diff, *from, *file)
		}
		var text []byte
		if *file != "" {
			_, err := conf.Load(*file) // here, so that what is wrong has its place in this file
			if err == nil {
				text, err = os.ReadFile(*file)
			}
			if err != nil {
				return mistaken(cmd, err)
			}
		}
		at := "/v1/plan"
		if whole, err := filepath.Abs(*file); *file != "" && err == nil {
			at += "?" + url.Values{"file": {whole}}.Encode()
		}
		p, err := ask(cmd, flags, http.MethodPost, at, text, showPlan)
		if err == nil && p.Refused {
			return Exit(ExitUsage)
		}
		return err
	}
	return cmd
}

func planOffline(cmd *cobra.Command, flags *clientFlags, diff func(before, after *conf.Config) status.Plan, from, to string) error {
	if to == "" {
		return errors.New("--from needs -c FILE")
	}
	before, err := conf.Load(from)
	if err != nil {
		return mistaken(cmd, err)
	}
	after, err := conf.Load(to)
	if err != nil {
		return mistaken(cmd, err)
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

// mistaken writes the mistakes of a file as check does.
func mistaken(cmd *cobra.Command, err error) error {
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
			fmt.Fprintf(w, " (%d sessions left to drain)", s.Cuts)
		}
		fmt.Fprintln(w)
	}
	if p.Refused {
		fmt.Fprintln(w, "refused: nothing of this would be done while weir runs")
	}
}
