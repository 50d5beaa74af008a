package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/colorprofile"
	"github.com/spf13/cobra"

	"weir/internal/status"
)

// topInterval is the time between requests of weir top. topPatience is how long it waits for the first response before it takes the
// terminal, so that errors appear as those of other commands.
const (
	topInterval = time.Second
	topPatience = time.Second
)

func topCommand(flags *clientFlags) *cobra.Command {
	var nodes []string
	cmd := &cobra.Command{
		Use: "top", Short: "Watch servers, rates and the nodes of a fleet, and change states by keys", Long: topLong(), Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if flags.json {
				return request(cmd, flags, http.MethodGet, "/v1/status", nil, showStatus)
			}
			c, err := flags.client()
			if err != nil {
				return err
			}
			for _, address := range nodes {
				if _, err := (&nodeClients{flags: flags}).named(address); err != nil {
					return fmt.Errorf("--nodes: %w", err)
				}
			}
			first := make(chan topStatus, 1)
			go func() {
				ctx, cancel := context.WithTimeout(cmd.Context(), requestTimeout)
				defer cancel()
				doc, err := fetchStatus(ctx, c)
				first <- topStatus{doc, err}
			}()
			m := &topModel{screen: newScreen(os.Getenv("NO_COLOR") == ""), client: c, nodes: &nodeClients{flags, nodes}}
			m.fleet.asked = len(nodes) > 0
			tty, ttyErr := openTerminal()
			patience := time.After(topPatience)
			if ttyErr != nil {
				patience = nil
			}
			select {
			case r := <-first:
				if r.err != nil {
					return r.err
				}
				if ttyErr != nil {
					fmt.Fprintf(cmd.ErrOrStderr(), "weir: top needs a terminal; showing weir status: %v\n", ttyErr)
					showStatus(cmd.OutOrStdout(), *r.doc)
					return nil
				}
				m.show(r.doc)
			case <-patience:
				m.first = first
			}
			defer tty.Close()
			return runTop(cmd.Context(), tty, m)
		},
	}
	cmd.Flags().StringSliceVar(&nodes, "nodes", nil, "the `addresses` of the APIs of all nodes of a fleet; they get the token")
	return cmd
}

// topLong is the help of the command.
func topLong() string {
	return "Shows problems, and all servers with their sessions and rates, once a second. Keys open\none server, the problems and the nodes of a fleet, " +
		"and change states:\n\n" + strings.Join(helpLines(88), "\n") + "\n\nWithout a terminal, and with --json, prints the output of weir status once."
}

func fetchStatus(ctx context.Context, c *client) (*status.Document, error) {
	doc := &status.Document{}
	_, err := c.do(ctx, http.MethodGet, "/v1/status", nil, doc)
	return doc, err
}

// runTop runs weir top in a terminal until a key or a signal ends it, or the terminal is lost.
func runTop(ctx context.Context, tty *terminal, m *topModel) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	defer stop()
	ctx, tty.lost = context.WithCancelCause(ctx)
	defer tty.lost(nil)
	var p *tea.Program
	m.ctx, m.out = ctx, newOutput(tty, func() { go p.Send(topDrained{}) })
	m.out.drop = tty.drop
	m.width, m.height = tty.size()
	p = tea.NewProgram(m, tea.WithInput(tty), tea.WithOutput(m.out), tea.WithoutSignalHandler(),
		tea.WithColorProfile(colorprofile.ANSI), tea.WithWindowSize(m.width, m.height))
	resized := make(chan os.Signal, 1)
	signal.Notify(resized, syscall.SIGWINCH, syscall.SIGCONT)
	defer signal.Stop(resized)
	go func() {
		for {
			select {
			case <-resized:
				width, height := tty.size()
				p.Send(tea.WindowSizeMsg{Width: width, Height: height})
			case <-ctx.Done():
				m.out.discard()
				p.Quit()
				return
			}
		}
	}()
	_, err := p.Run()
	m.out.close()
	if lost, ok := errors.AsType[*os.PathError](context.Cause(ctx)); ok { // of the write that failed
		err = lost
	}
	return err
}
