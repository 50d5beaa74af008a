package main

// Commands about the process: reload, plan, stop.

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"weir/conf"
	"weir/internal/engine"
	"weir/internal/status"
)

func reloadCommand(r *reach) *cobra.Command {
	return &cobra.Command{
		Use: "reload", Short: "Go over to what the file says now", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return tell(cmd, r, http.MethodPost, "/v1/reload", nil, func(w io.Writer, c status.Config) {
				fmt.Fprintln(w, c.File+": in force")
			})
		},
	}
}

func stopCommand(r *reach) *cobra.Command {
	now := false
	cmd := &cobra.Command{
		Use: "stop [--now]", Short: "Drain, or end at once, and wait for the end", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := r.client()
			if err != nil {
				return err
			}
			body, err := json.Marshal(map[string]bool{"now": now})
			if err != nil {
				return err
			}
			var n cutCount
			text, err := c.do(cmd.Context(), http.MethodPost, "/v1/stop", body, &n)
			if err != nil {
				return err
			}
			for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
				if _, err := c.do(cmd.Context(), http.MethodGet, "/healthz", nil, nil); err != nil {
					break // the process has ended, or nearly so
				}
			}
			if r.json {
				if err := indent(cmd.OutOrStdout(), text); err != nil {
					return err
				}
			} else {
				fmt.Fprintf(cmd.OutOrStdout(), "stopped, %d sessions cut\n", n.SessionsCut)
			}
			if n.SessionsCut > 0 {
				return ended{code: exitCut}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&now, "now", false, "cut the sessions instead of waiting for them")
	return cmd
}

const planHelp = `Prints what a reload would add, change and remove, and how many of the sessions of
now it would leave to be cut at the drain deadline. Nothing is changed.

Without -c the file is the one that the running weir was started with. With --from
two files are compared, and no weir is needed. The exit code is 1 if the reload
would be refused.`

func planCommand(r *reach) *cobra.Command {
	cmd := &cobra.Command{Use: "plan [-c FILE] [--from FILE]", Short: "Show what a reload would do", Long: planHelp, Args: cobra.NoArgs}
	file := fileFlag(cmd)
	from := cmd.Flags().String("from", "", "compare with this `file` instead of the running weir")
	cmd.MarkFlagFilename("from", "toml")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *from != "" {
			return planOffline(cmd, r, *from, *file)
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
		p, err := ask(cmd, r, http.MethodPost, at, text, showPlan)
		if err == nil && p.Refused {
			return ended{code: exitUsage}
		}
		return err
	}
	return cmd
}

func planOffline(cmd *cobra.Command, r *reach, from, to string) error {
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
	p := engine.PlanOf(conf.Diff(before, after), func(conf.PlanStep) int { return 0 })
	if r.json {
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
		return ended{code: exitUsage}
	}
	return nil
}

// mistaken writes the mistakes of a file as check does.
func mistaken(cmd *cobra.Command, err error) error {
	fmt.Fprintln(cmd.ErrOrStderr(), err)
	return ended{code: exitUsage}
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
