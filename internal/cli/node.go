package cli

// weir node: the state of the whole node, and the addresses that a killed weir has left behind.

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"weir/conf"
	"weir/internal/status"
	"weir/internal/vip"
)

const nodeHelp = `Sets the state of the whole node:

  drain    other hosts serve new clients: /readyz answers 503, and the addresses of
           [[vip]] are removed; sessions continue, and clients that still come are
           served
  ready    end the drain

The state survives an upgrade, and with state_file a restart. weir node clean works
without a running weir: it removes the addresses that a killed weir has left behind.`

func nodeCommand(flags *clientFlags) *cobra.Command {
	node := &cobra.Command{
		Use: "node drain|ready|clean", Short: "Drain this node, or remove addresses that were left behind", Long: nodeHelp, Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			verbs := []string{"drain", "ready", "clean"}
			if len(args) == 0 {
				return UsageError(cmd)
			}
			return unknownAction(args[0], verbs)
		},
	}
	for verb, short := range map[string]string{
		status.NodeDrain: "Let other hosts serve new clients",
		status.NodeReady: "Serve new clients again",
	} {
		cmd := &cobra.Command{Use: verb, Short: short, Args: cobra.NoArgs}
		reason := cmd.Flags().String("reason", "", "the reason, shown in weir status and by /readyz")
		cmd.RunE = func(cmd *cobra.Command, _ []string) error {
			body := map[string]string{}
			if *reason != "" {
				body["reason"] = *reason
			}
			return request(cmd, flags, http.MethodPost, "/v1/node/"+verb, body, showNode)
		}
		flags.add(cmd)
		node.AddCommand(cmd)
	}
	node.AddCommand(cleanCommand())
	return node
}

func showNode(w io.Writer, n status.Node) {
	text := "ready"
	if n.State == status.NodeDrain {
		text = "drained; sessions continue"
	}
	fmt.Fprintln(w, "node:", text)
}

func cleanCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "clean [-c FILE]", Short: "Remove the addresses that a killed weir has left behind", Args: cobra.NoArgs,
		Long: `Removes addresses with the mark of weir that no running weir has, from all interfaces or,
with -c, from those that the configuration names. It asks no running weir.`,
	}
	file := ConfigFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var on []string
		if *file != "" {
			cfg, err := conf.Load(*file)
			if err != nil {
				return err
			}
			for i := range cfg.VIPs {
				on = append(on, cfg.VIPs[i].Interface)
			}
			if len(on) == 0 {
				fmt.Fprintln(cmd.OutOrStdout(), "no [[vip]] in", *file)
				return nil
			}
		}
		left, err := vip.Clean(on)
		if err != nil {
			return ExitError{ExitUnreachable, err}
		}
		return showLeft(cmd.OutOrStdout(), left)
	}
	return cmd
}

// showLeft prints the addresses that were found, and returns the errors of those that could not be removed.
func showLeft(w io.Writer, left []vip.Left) error {
	var errs []error
	for _, l := range left {
		name := l.Address.String()
		if l.Interface != "" {
			name += " on " + l.Interface
		}
		switch {
		case l.Err != nil:
			errs = append(errs, fmt.Errorf("%s: cannot remove it: %w", name, l.Err))
		case l.InUse:
			fmt.Fprintf(w, "%s: kept, a running weir has it\n", name)
		default:
			fmt.Fprintf(w, "%s: removed\n", name)
		}
	}
	if len(left) == 0 {
		fmt.Fprintln(w, "no addresses left behind")
	}
	if len(errs) > 0 {
		return ExitError{ExitUnreachable, errors.Join(errs...)}
	}
	return nil
}

// showVIPs prints the addresses of the configuration.
func showVIPs(w io.Writer, doc *status.Document) {
	if len(doc.VIPs) == 0 {
		return
	}
	fmt.Fprintln(w)
	t := columns("!VIP", "!INTERFACE", "!STATE", "CLUSTERS", "~REASON")
	t.painted("STATE", paletteFor(w).state)
	for _, v := range doc.VIPs {
		reason := v.Problem
		if reason == "" {
			reason = v.Reason
		}
		t.row(v.Address, v.Interface, v.State, strings.Join(v.Clusters, ", "), reason)
	}
	t.print(w, "")
}

// vipsText lists the addresses and their states in one line.
func vipsText(list []status.VIP) string {
	texts := make([]string, len(list))
	for i, v := range list {
		texts[i] = v.Address + " " + v.State
	}
	return "vip: " + strings.Join(texts, ", ")
}
