package cli

// What commands that wait show meanwhile.

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"weir/internal/progress"
	"weir/internal/status"
)

// Times of commands that wait.
const (
	waitInterval  = time.Second      // between two looks at weir
	plainInterval = 10 * time.Second // between two lines, if standard error is no terminal
)

// waiting shows on standard error what is left, once a second, until stop is called. --json shows nothing.
func waiting(cmd *cobra.Command, flags *clientFlags, text func() string) (stop func()) {
	if flags.json {
		return func() {}
	}
	return progress.New(cmd.ErrOrStderr(), plainInterval).Every(waitInterval, text)
}

// look sends a GET request whose answer must come before the next look. It returns false if there is none.
func (c *client) look(ctx context.Context, path string, out any) bool {
	ctx, cancel := context.WithTimeout(ctx, waitInterval)
	defer cancel()
	_, err := c.do(ctx, http.MethodGet, path, nil, out)
	return err == nil
}

// follow calls look once a second until it reports the end, and shows its text meanwhile. what continues if the command is
// interrupted.
func (c *client) follow(cmd *cobra.Command, flags *clientFlags, what string, look func(ctx context.Context) (text string, end bool, err error)) error {
	ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT)
	defer stop()
	text := ""
	line := progress.New(cmd.ErrOrStderr(), plainInterval)
	defer line.Show("")
	for failed := 0; ; {
		now, end, err := look(ctx)
		switch {
		case ctx.Err() != nil:
			return ExitError{ExitUsage, fmt.Errorf("interrupted; %s continues", what)}
		case err != nil:
			var exit ExitError
			if failed++; !errors.As(err, &exit) || exit.Code != ExitUnreachable || failed == maxLooks {
				return err
			}
		case end:
			return nil
		default:
			text, failed = now, 0
		}
		if !flags.json {
			line.Show(text)
		}
		select {
		case <-time.After(waitInterval):
		case <-ctx.Done():
		}
	}
}

// maxLooks is the number of looks in a row that may fail: an upgrade closes connections.
const maxLooks = 5

// waitFlag adds the flag --wait.
func waitFlag(cmd *cobra.Command, wait *bool, usage string) {
	cmd.Flags().BoolVar(wait, "wait", false, usage)
}

// waits reports whether a command waits: if --wait says so, else on a terminal.
func waits(cmd *cobra.Command, wait bool) bool {
	if cmd.Flags().Changed("wait") {
		return wait
	}
	return progress.New(cmd.OutOrStdout(), 0).Terminal()
}

// sessionsLeft formats a number of sessions that have not ended.
func sessionsLeft(n int) string {
	if n == 1 {
		return "1 session left"
	}
	return fmt.Sprintf("%d sessions left", n)
}

// stopText describes a stop in progress.
func stopText(doc *status.Document, now time.Time) string {
	text := "stopping: " + sessionsLeft(doc.Sessions)
	if doc.StopsAt != nil {
		text += ", cut in " + progress.Seconds(doc.StopsAt.Sub(now))
	}
	return text
}

// followDrain waits until a server that drains has no sessions.
func (s *serverChange) followDrain(cmd *cobra.Command, cluster, server string) error {
	c, err := s.client()
	if err != nil {
		return err
	}
	name := cluster + "/" + server
	at := path("v1", "clusters", cluster, "servers", server)
	err = c.follow(cmd, s.clientFlags, "the drain of "+name, func(ctx context.Context) (string, bool, error) {
		var x status.Explanation
		_, err := c.do(ctx, http.MethodGet, at, nil, &x)
		if err == nil && x.State != "drain" && x.Sessions > 0 {
			err = fmt.Errorf("%s is %s: the drain was ended with %s", name, x.State, sessionsLeft(x.Sessions))
		}
		return drainText(name, &x, time.Now()), x.Sessions == 0, err
	})
	if err == nil && !s.json {
		fmt.Fprintf(cmd.OutOrStdout(), "%s: no sessions left\n", name)
	}
	return err
}

// drainText describes a drain in progress.
func drainText(name string, x *status.Explanation, now time.Time) string {
	text := name + ": " + sessionsLeft(x.Sessions)
	if x.Deadline != nil {
		text += ", cut in " + progress.Seconds(x.Deadline.Sub(now))
	}
	return text
}

// followRebalance waits until a cluster closes no sessions above the fair shares.
func followRebalance(cmd *cobra.Command, flags *clientFlags, cluster string) error {
	c, err := flags.client()
	if err != nil {
		return err
	}
	err = c.follow(cmd, flags, "the rebalancing of "+cluster, func(ctx context.Context) (string, bool, error) {
		var now status.Cluster
		_, err := c.do(ctx, http.MethodGet, path("v1", "clusters", cluster), nil, &now)
		if now.Closing == nil || !slices.Contains(now.Closing.Causes, "rebalance") {
			return "", true, err
		}
		return cluster + ": " + closingText(now.Closing), false, err
	})
	if err == nil && !flags.json {
		fmt.Fprintf(cmd.OutOrStdout(), "%s: rebalanced\n", cluster)
	}
	return err
}
