package cli

import (
	"context"
	"fmt"
	"io"
	"net"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"weir/agentcheck"
)

const aboutAgent = `Tells balancers how this host wants to be used, over TCP: weir's check of type
"agent", or HAProxy's agent-check. One of --say, --file and --load says what.

Words: up, down, fail, stopped, ready, drain, maint, 50%, weight:10, maxconn:30,
and after up or down, "# a text".`

// agentCommand answers balancers until it is told to end.
func agentCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "agent --listen ADDRESS (--say LINE | --file FILE | --load)", Short: "Tell balancers the state and weight of this host",
		Long: aboutAgent, Args: cobra.NoArgs, DisableFlagsInUseLine: true,
	}
	listen := cmd.Flags().String("listen", "", "where to answer: an `address` such as :9999 or 10.0.0.1:9999")
	say := cmd.Flags().String("say", "", "this `line` always, such as \"50%\" or \"drain\"")
	file := cmd.Flags().String("file", "", "the first line of a `file`, read anew for every question")
	load := cmd.Flags().Bool("load", false, "a percentage, from 100% down to 1% where one task per processor runs or waits")
	cmd.MarkFlagRequired("listen")
	cmd.MarkFlagsOneRequired("say", "file", "load")
	cmd.MarkFlagsMutuallyExclusive("say", "file", "load")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if _, _, err := net.SplitHostPort(*listen); err != nil {
			return fmt.Errorf("agent: --listen: %w", err)
		}
		var answer agentcheck.ReplyFunc
		switch {
		case *load:
			answer = agentcheck.LoadReply()
		case *file != "":
			answer = agentcheck.FileReply(*file)
		default:
			var err error
			if answer, err = agentcheck.FixedReply(*say); err != nil {
				return fmt.Errorf("agent: --say: %w", err)
			}
		}
		if _, err := answer(); err != nil { // it may be put right later, and somebody should know
			fmt.Fprintf(cmd.ErrOrStderr(), "weir agent: nothing to say yet: %v\n", err)
		}
		return Exit(answerBalancers(cmd.Context(), *listen, answer, cmd.OutOrStdout(), cmd.ErrOrStderr()))
	}
	return cmd
}

func answerBalancers(ctx context.Context, listen string, answer agentcheck.ReplyFunc, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	signal.Ignore(syscall.SIGPIPE) // whoever read what is said here may have gone
	var config net.ListenConfig
	config.SetMultipathTCP(false)
	l, err := config.Listen(ctx, "tcp", listen)
	if err != nil {
		fmt.Fprintf(stderr, "weir agent: %v\n", err)
		return ExitUnreachable
	}
	fmt.Fprintf(stdout, "weir agent: answering at %s\n", l.Addr())
	told := newTold(stderr)
	defer told.close()
	server := agentcheck.Server{Reply: answer, OnError: told.report}
	if err := server.Serve(ctx, l); err != nil {
		fmt.Fprintf(stderr, "weir agent: %v\n", err)
		return ExitUnreachable
	}
	return ExitOK
}

// told passes on why questions go unanswered: once for each reason that is not the one before. Its reader never holds
// up an answer.
type told struct {
	queue chan string
	done  chan struct{}
}

func newTold(to io.Writer) *told {
	t := &told{queue: make(chan string, 16), done: make(chan struct{})}
	go func() {
		defer close(t.done)
		last := ""
		for reason := range t.queue {
			if reason != last {
				fmt.Fprintf(to, "weir agent: %s\n", reason)
			}
			last = reason
		}
	}()
	return t
}

func (t *told) report(err error) {
	select {
	case t.queue <- err.Error():
	default:
	}
}

// close waits for the last reason to be written, as far as it is taken in time.
func (t *told) close() {
	close(t.queue)
	select {
	case <-t.done:
	case <-time.After(time.Second):
	}
}
