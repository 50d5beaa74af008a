package cli

// weir top: the servers as they are now, once a second, and keys to change them.

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"weir/internal/status"
)

const topHelp = `Shows what is wrong, and all servers with their sessions and rates, once a second.

  arrows, j k, PgUp PgDn, g G   choose a server       enter, e  who says what about it
  d  drain    m  maint    r  ready    z  reset        K  kill its sessions
  s  another order    b  only those not up    /  filter    ?  the keys    q  quit

maint and killing sessions are asked about once more. Without a terminal, and with
--json, it shows what weir status shows, once.`

// How often weir top asks, and how long it waits for an answer before it says that there is none.
const (
	topInterval = time.Second
	topPatience = 5 * time.Second
)

func topCommand(flags *clientFlags) *cobra.Command {
	return &cobra.Command{
		Use: "top", Short: "Watch servers and rates, and change states by keys", Long: topHelp, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if flags.json { // for programs, which ask again as they like
				return tell(cmd, flags, http.MethodGet, "/v1/status", nil, showStatus)
			}
			c, err := flags.client()
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), answerTime)
			defer cancel()
			doc, err := statusOf(ctx, c) // before the screen is taken: whoever cannot reach weir is told so as usual
			if err != nil {
				return err
			}
			tty, err := openTerminal()
			if err != nil {
				fmt.Fprintf(cmd.ErrOrStderr(), "weir: top wants a terminal, this is weir status: %v\n", err)
				showStatus(cmd.OutOrStdout(), *doc)
				return nil
			}
			defer tty.close()
			t := &top{client: c, tty: tty, screen: newScreen(os.Getenv("NO_COLOR") == "")}
			t.screen.show(doc)
			return t.run(cmd.Context())
		},
	}
}

func statusOf(ctx context.Context, c *client) (*status.Document, error) {
	doc := &status.Document{}
	_, err := c.do(ctx, http.MethodGet, "/v1/status", nil, doc)
	return doc, err
}

// top joins the terminal, the screen and the API. Requests are made beside the loop, which never waits for weir.
type top struct {
	client *client
	tty    *terminal
	screen *screen

	answers chan func()    // what to do with an answer, in the loop
	work    sync.WaitGroup // requests under way
}

func (t *top) run(ctx context.Context) error {
	defer t.work.Wait()
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	defer stop()
	resized := make(chan os.Signal, 1)
	signal.Notify(resized, syscall.SIGWINCH)
	defer signal.Stop(resized)
	t.answers = make(chan func())
	keys := t.tty.keys(ctx)
	tick := time.NewTicker(topInterval)
	defer tick.Stop()
	asked := false
	ask := func() {
		if asked {
			return
		}
		asked = true
		t.beside(ctx, func(ctx context.Context) func() {
			doc, err := statusOf(ctx, t.client)
			return func() {
				asked = false
				if err != nil {
					t.screen.lose(err)
					return
				}
				t.screen.show(doc)
			}
		})
	}
	for {
		if err := t.tty.draw(t.screen); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			ask()
		case <-resized:
		case answer := <-t.answers:
			answer()
		case k, open := <-keys:
			if !open {
				return nil // the terminal is gone
			}
			switch do := t.screen.press(k); do.what {
			case topQuit:
				return nil
			case topSuspend:
				if err := t.tty.suspend(); err != nil {
					return err
				}
			case topPatch, topKill:
				t.change(ctx, do, ask)
			}
		}
	}
}

// beside makes a request and has its outcome dealt with in the loop.
func (t *top) beside(ctx context.Context, do func(context.Context) func()) {
	t.work.Go(func() {
		limited, cancel := context.WithTimeout(ctx, topPatience)
		defer cancel()
		outcome := do(limited)
		select {
		case t.answers <- outcome:
		case <-ctx.Done(): // nobody waits for it any more
		}
	})
}

// change does what a key asked for.
func (t *top) change(ctx context.Context, do topDo, then func()) {
	t.beside(ctx, func(ctx context.Context) func() {
		at := path("v1", "clusters", do.cluster, "servers", do.server)
		text, err := "", error(nil)
		if do.what == topKill {
			var n cutCount
			_, err = t.client.do(ctx, http.MethodDelete, at+"/sessions", nil, &n)
			text = fmt.Sprintf("%s/%s: %d sessions cut", do.cluster, do.server, n.SessionsCut)
		} else {
			var body []byte
			if body, err = json.Marshal(do.patch); err == nil {
				var x status.Explanation
				_, err = t.client.do(ctx, http.MethodPatch, at, body, &x)
				text = fmt.Sprintf("%s/%s: %s, weight %d", x.Cluster, x.Name, x.State, x.Weight)
			}
		}
		return func() {
			if err != nil {
				text = err.Error()
			}
			t.screen.tell(text)
			then()
		}
	})
}
