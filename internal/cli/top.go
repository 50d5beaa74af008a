package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/colorprofile"
	"github.com/spf13/cobra"

	"weir/internal/status"
)

const topHelp = `Shows problems, and all servers with their sessions and rates, once a second.

  arrows, j k, PgUp PgDn, g G   select a server      enter, e  explain its state
  d  drain    m  maint    r  ready    z  reset       K  kill its sessions
  s  sort    b  only servers not up    /  filter     ?  the keys    q  quit

maint and killing sessions need a confirmation. Without a terminal, and with --json,
prints the output of weir status once.`

// topInterval is the time between requests of weir top, topTimeout the limit of each.
const (
	topInterval = time.Second
	topTimeout  = 5 * time.Second
)

func topCommand(flags *clientFlags) *cobra.Command {
	return &cobra.Command{
		Use: "top", Short: "Watch servers and rates, and change states by keys", Long: topHelp, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if flags.json {
				return request(cmd, flags, http.MethodGet, "/v1/status", nil, showStatus)
			}
			c, err := flags.client()
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), requestTimeout)
			defer cancel()
			doc, err := fetchStatus(ctx, c) // before the terminal changes, so that errors appear as those of other commands
			if err != nil {
				return err
			}
			tty, err := openTerminal()
			if err != nil {
				fmt.Fprintf(cmd.ErrOrStderr(), "weir: top needs a terminal; showing weir status: %v\n", err)
				showStatus(cmd.OutOrStdout(), *doc)
				return nil
			}
			defer tty.Close()
			screen := newScreen(os.Getenv("NO_COLOR") == "")
			screen.show(doc)
			return runTop(cmd.Context(), c, tty, screen)
		},
	}
}

func fetchStatus(ctx context.Context, c *client) (*status.Document, error) {
	doc := &status.Document{}
	_, err := c.do(ctx, http.MethodGet, "/v1/status", nil, doc)
	return doc, err
}

// runTop runs weir top in a terminal until a key or a signal ends it, or the terminal is lost.
func runTop(ctx context.Context, c *client, tty *terminal, s *screen) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	defer stop()
	ctx, tty.lost = context.WithCancelCause(ctx)
	defer tty.lost(nil)
	m := &topModel{screen: s, client: c, ctx: ctx}
	m.width, m.height = tty.size()
	p := tea.NewProgram(m, tea.WithInput(tty), tea.WithOutput(struct{ io.Writer }{tty}), tea.WithoutSignalHandler(),
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
				p.Quit()
				return
			}
		}
	}()
	_, err := p.Run()
	if lost, ok := errors.AsType[*os.PathError](context.Cause(ctx)); ok { // of the write that failed
		err = lost
	}
	return err
}
